"""Two masters fight for one database: what an owner commits after it was replaced would be stale."""

from tests.fault.owners.rivals import fight, plant_shared_lock
from tests.support.galera import galera_nodes
from tests.support.mariadb import private_server


def test_no_commit_comes_after_the_take_over_that_should_have_stopped_it_on_one_server() -> None:
    with private_server() as server:
        seen = fight([server, server], 150, seed=7)
    assert seen.take_overs >= 150
    assert seen.writes > seen.take_overs
    assert seen.stale == 0


def test_nor_on_two_nodes_of_a_cluster_where_a_shared_lock_lets_some_through() -> None:
    with galera_nodes() as nodes:
        seen = fight(nodes[:2], 300, seed=7)
        assert (seen.take_overs >= 300, seen.stale) == (True, 0)
        assert any(fight(nodes[:2], 300, seed, plant_shared_lock).stale for seed in range(10))
