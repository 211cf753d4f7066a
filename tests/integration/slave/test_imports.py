"""A slave asks its master for the projects that its scripts import."""

from tests.integration.slave.conftest import SCRIPT
from zspider.broker import messages as m

IMPORTS = "from projects import other\n" + SCRIPT + "\n    def told(self):\n        return other.name\n"


def test_two_processors_import_a_project_from_the_master(world):
    world.slave(processors=2)
    world.master.projects["other"] = "name = 'V1'"
    script = world.master.project(IMPORTS)
    world.master.grant(script, *[world.site.url(f"/hello?{i}") for i in range(20)], callback="told")
    world.until(lambda: len(world.master.ended()) == 20, "20 outcomes")
    assert set(world.master.results()) == {"V1"}
    assert 1 <= len(world.master.said(m.NeedProject)) <= 2


def test_a_page_whose_script_lacks_a_project_is_given_back_and_done_once_that_is_there(world):
    world.slave()
    world.master.projects["other"] = None
    script = world.master.project(IMPORTS)
    world.master.grant(script, world.site.url("/hello"), callback="told")
    (back,) = world.until(lambda: world.master.said(m.GiveBack), "given back")
    assert back.reason == "script"
    assert back.error.startswith("ImportError: no project named 'other'")
    assert world.site.paths() == []
    world.master.projects["other"] = "name = 'now'"
    granted = 1

    def is_done():
        nonlocal granted
        if len(world.master.said(m.GiveBack)) == granted:  # it is tried again a moment later
            granted += 1
            world.master.grant(script, world.site.url("/hello"), callback="told")
        return world.master.results()

    world.until(is_done, "a result")
    assert world.master.results() == ["now"]


def test_a_question_that_was_lost_is_asked_again_and_the_processor_is_not_taken_for_hung(world):
    world.slave(processor={"process_time_limit_s": 1})
    script = world.master.project(IMPORTS)
    world.master.grant(script, world.site.url("/hello"), callback="told")
    world.until(lambda: len(world.master.said(m.NeedProject)) == 4, "asked four times, more than the limit of 1 + 5 s")
    world.master.projects["other"] = "name = 'late'"
    world.until(world.master.results, "a result")
    assert world.master.results() == ["late"]
