"""What the log says of projects."""

import pytest
from structlog.testing import capture_logs
from zspider.roles.master.project_log import REFUSED_S, ProjectLog
from zspider.scheduler.pause import Phase


def test_refusals_are_told_at_once_and_then_summed_up_once_a_minute_per_project():
    news = ProjectLog(300.0)
    with capture_logs() as logs:
        for now in range(150):
            news.refused("a", 2, float(now))
        news.refused("b", 1, 149.0)
    assert [(log["project"], log["refused"]) for log in logs] == [("a", 2), ("a", 120), ("a", 120), ("b", 1)]
    assert REFUSED_S == 60.0


def test_names_that_are_reserved_are_told_apart_from_them_and_a_gone_project_is_forgotten():
    news = ProjectLog(300.0)
    with capture_logs() as logs:
        for project in ("a", "b"):
            news.refused(project, 2, 0.0)
            news.reserved(project, 3, 1.0)
            news.reserved(project, 4, 2.0)
        news.forget("a")
        news.reserved("a", 5, 3.0)
        news.reserved("b", 5, 3.0)
    dropped = [(log["project"], log["dropped"]) for log in logs if log["event"] == "follows_reserved"]
    assert dropped == [("a", 3), ("b", 3), ("a", 5)]
    assert {project for project, _ in news._logged} == {"a", "b"}


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (Phase.PAUSED, "project_paused"),
        (Phase.PROBING, "project_probed"),
        (Phase.NORMAL, "project_unpaused"),
    ],
)
def test_each_phase_is_told(phase, event):
    with capture_logs() as logs:
        ProjectLog(300.0).paused("a", phase, "10 failures in a row")
    assert (logs[0]["event"], logs[0]["project"]) == (event, "a")
    assert phase is not Phase.PAUSED or (logs[0]["reason"], logs[0]["for_s"]) == ("10 failures in a row", 300.0)
