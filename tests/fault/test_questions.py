"""A slave that asks for what does not exist harms nobody."""

from tests.support.cluster import PORT, Cluster
from tests.support.wire import SESSION, Slave, hello
from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.keys import find_token
from zspider.broker.link import Link


def test_a_master_answers_for_unknown_projects_and_survives_questions_for_unknown_scripts(cluster: Cluster) -> None:
    master = cluster.master().start()
    found = find_token("join", master.join_token, master.data_dir, {})
    assert found is not None
    slave = Slave(Link(Address(master.address, PORT), found.token))

    def until(kind: type) -> m.AnyMessage:
        for _ in range(1000):
            slave.step(0.02)
            master.check_alive()
            if heard := [one for one in slave.messages if isinstance(one, kind)]:
                return heard[0]
        raise AssertionError(f"no {kind.__name__}")

    try:
        for _ in range(500):
            slave.step(0.02)
            if slave.link.is_connected:
                break
        assert slave.link.send(hello())
        until(m.Welcome)
        assert slave.link.send(m.NeedScript(SESSION, b"?" * 32))
        assert slave.link.send(m.NeedProject(SESSION, "nobody"))
        assert until(m.ProjectScript) == m.ProjectScript("nobody", None)
        assert master.status()["slaves"]  # it goes on
        assert "script_unknown" in master.log
    finally:
        slave.link.close()
