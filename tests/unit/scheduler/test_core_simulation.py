"""A cluster's minutes on a simulated clock: shares, rates, nobody starved. The long runs: `make bench-scheduler`."""

import pytest
from tests.support.core_simulation import Plan, Simulation


def test_in_a_busy_minute_with_crashes_and_stops_shares_are_equal_and_no_window_exceeds_its_rate():
    simulation = Simulation(Plan(slaves=50, projects=8, waiting=8000, rate=25, burst=10, churn_s=3, stop_s=7))
    simulation.run(10)
    simulation.forget()
    simulation.run(60)
    figures = simulation.figures()
    assert figures.tasks == pytest.approx(60 * 8 * 25, rel=0.05)
    assert figures.lost > 0  # slaves have crashed
    assert figures.slave_shares == pytest.approx((1, 1), abs=0.05)
    assert -1 < figures.over_burst <= 0.001 * 25 + 1e-6  # a burst was used in full; starts are whole milliseconds
    assert figures.longest_gap_s < 2.5  # of a project: it was stopped for 2 s
    assert figures.longest_wait_s < 2 * 8000 / (8 * 25)


def test_projects_without_a_rate_share_a_full_cluster_equally():
    simulation = Simulation(Plan(slaves=20, projects=5, waiting=5000, window=10, concurrency=10))
    simulation.run(5)
    simulation.forget()
    simulation.run(20)
    figures = simulation.figures()
    assert figures.tasks > 3000
    assert figures.project_shares == pytest.approx((1, 1), abs=0.01)
    assert figures.longest_gap_s < 1


def test_the_same_seed_gives_the_same_history():
    def history():
        simulation = Simulation(Plan(slaves=5, projects=3, waiting=300, rate=10, burst=3, churn_s=2, stop_s=3))
        simulation.run(40)
        return simulation.starts

    assert history() == history()


def test_a_step_with_nothing_to_do_costs_the_same_among_a_hundred_times_as_many():
    few, many = (Simulation(Plan(slaves=n, projects=n, waiting=0)) for n in (10, 1000))
    for simulation in (few, many):
        simulation.run(3)
    assert many.idle_step_us() < 5 * few.idle_step_us() + 5
