"""One verb at a time works on many tasks of a project."""

import pytest
from zspider.errors import ZspiderError
from zspider.roles.master.admin.bulk import IDLE_S, BulkJobs
from zspider.task import Project, ProjectStatus

SHOP = Project(1, "shop", ProjectStatus.RUNNING)
BOOKS = Project(2, "books", ProjectStatus.RUNNING)


def test_a_second_verb_is_refused_until_the_first_has_ended():
    jobs = BulkJobs()
    job = jobs.enter(SHOP, "tasks retry", None, 0.0)
    with pytest.raises(ZspiderError, match="shop: `tasks retry` is at work"):
        jobs.enter(SHOP, "tasks drop", None, 1000.0)  # however long the batch takes
    jobs.enter(BOOKS, "tasks drop", None, 0.0)
    jobs.leave(SHOP, 1000.0, is_over=False)
    with pytest.raises(ZspiderError, match="is at work"):
        jobs.check_idle(SHOP, 1000.0 + IDLE_S - 0.1)
    assert jobs.enter(SHOP, "tasks retry", job, 1001.0) == job
    jobs.leave(SHOP, 1001.0, is_over=True)
    jobs.check_idle(SHOP, 1001.0)


def test_an_interrupted_verb_makes_room_and_cannot_go_on_beside_the_next():
    jobs = BulkJobs()
    first = jobs.enter(SHOP, "tasks retry", None, 0.0)
    jobs.leave(SHOP, 1.0, is_over=False)
    second = jobs.enter(SHOP, "tasks drop", None, 1.0 + IDLE_S)
    jobs.leave(SHOP, 12.0, is_over=False)
    with pytest.raises(ZspiderError, match="another verb was begun since"):
        jobs.enter(SHOP, "tasks retry", first, 12.0)
    assert jobs.enter(SHOP, "tasks drop", second, 12.0) == second


@pytest.mark.parametrize("is_over", [True, False])
def test_a_made_up_job_is_refused(is_over):
    jobs = BulkJobs()
    jobs.enter(SHOP, "tasks retry", None, 0.0)
    jobs.leave(SHOP, 0.0, is_over=is_over)
    with pytest.raises(ZspiderError, match="was interrupted"):
        jobs.enter(SHOP, "tasks retry", "made-up", 0.0)
