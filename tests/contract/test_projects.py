"""Projects, scripts, sessions, and what readers see."""

import pytest
from tests.support.storage import START_MS, Crawl, follow, outcome
from zspider.delivery import End, Follow, Outcome
from zspider.errors import ConfigError, StorageError
from zspider.storage import Reader, open_storage
from zspider.storage.batch import Batch
from zspider.task import ProjectStatus, ScriptInfo, Status


def test_a_new_project_runs_with_pyspiders_rate(crawl: Crawl) -> None:
    project = crawl.project
    assert (project.name, project.status, project.rate, project.burst) == ("shop", ProjectStatus.RUNNING, 1.0, 3.0)
    assert project.updated_ms == START_MS
    assert project.info is None
    assert project.counts == {}
    assert crawl.storage.projects() == [project] == crawl.reader.projects()
    assert crawl.storage.script(project.script) == "class Handler: pass"


def test_a_pushed_script_is_a_new_version_and_the_rest_stays(crawl: Crawl) -> None:
    crawl.storage.set_project(crawl.project.id, now_ms=1, status=ProjectStatus.STOP, rate=7, group="g")
    pushed = crawl.storage.push("shop", "# 🕷", status=ProjectStatus.RUNNING, burst=9, now_ms=2)
    assert (pushed.id, pushed.status, pushed.rate, pushed.burst, pushed.group) == (1, ProjectStatus.STOP, 7, 9, "g")
    assert pushed.script != crawl.project.script
    assert crawl.storage.script(pushed.script) == "# 🕷"
    assert crawl.storage.script(crawl.project.script) == "class Handler: pass"  # tasks in flight may need it


def test_a_known_project_may_get_another_status_with_its_script(crawl: Crawl) -> None:
    edited = crawl.storage.push("shop", "2", known_status=ProjectStatus.CHECKING, now_ms=2)
    assert edited.status is ProjectStatus.CHECKING
    new = crawl.storage.push("new", "2", status=ProjectStatus.TODO, known_status=ProjectStatus.CHECKING, now_ms=3)
    assert new.status is ProjectStatus.TODO


def test_a_project_paused_by_hand_is_so_after_a_restart(crawl: Crawl) -> None:
    crawl.storage.set_project(crawl.project.id, now_ms=2, status=ProjectStatus.PAUSED)
    crawl.close()
    crawl.open()
    assert crawl.project.status is ProjectStatus.PAUSED


def test_what_a_slave_told_about_a_script_is_kept_with_it(crawl: Crawl) -> None:
    info = ScriptInfo(b"\x80", {"0": 1.5}, 60, "")
    crawl.storage.save_info(crawl.project.script, info)
    assert crawl.storage.projects()[0].info == info
    assert crawl.storage.push("shop", "new", now_ms=2).info is None
    assert crawl.storage.push("shop", "class Handler: pass", now_ms=3).info == info


@pytest.mark.parametrize("name", ["", "a b", "a-b", "é", "x" * 65, "a\n", "../a"])
def test_a_name_with_other_characters_is_refused(crawl: Crawl, name: str) -> None:
    with pytest.raises(ConfigError, match="project name"):
        crawl.storage.push(name, "x", now_ms=1)
    assert len(crawl.storage.projects()) == 1


def test_names_differ_by_case(crawl: Crawl) -> None:
    assert crawl.storage.push("Shop", "x", now_ms=1).id != crawl.project.id
    assert crawl.storage.push("x" * 64, "x", now_ms=1).name == "x" * 64


def test_what_does_not_exist_is_an_error(crawl: Crawl) -> None:
    with pytest.raises(StorageError, match="no project"):
        crawl.storage.set_project(99, now_ms=1, rate=1)
    with pytest.raises(StorageError, match="no script"):
        crawl.storage.script(b"x" * 32)
    assert crawl.storage.remove("nobody") == 0


def test_a_removed_project_goes_in_batches_and_its_id_is_not_used_again(crawl: Crawl) -> None:
    keeper = crawl.storage.push("keeper", "x", now_ms=1)
    crawl.storage.submit(keeper.id, [follow("k")], crawl.now_ms)
    tasks = crawl.tasks(*(f"t{number}" for number in range(25)))
    crawl.commit(*(outcome(task, results=[b"1", b"2"]) for task in tasks[:10]))
    left = [crawl.storage.remove("shop", 10)]
    with pytest.raises(StorageError, match="being removed"):
        crawl.storage.push("shop", "x", now_ms=1)
    late = crawl.commit(outcome(tasks[20], follows=[follow("new")]))  # an outcome that comes meanwhile
    assert late.ended[0].late
    assert late.entered == []
    while left[-1]:
        left.append(crawl.storage.remove("shop", 10))
    assert left == [35, 25, 20, 10, 1, 0]
    assert [project.name for project in crawl.reader.projects()] == ["keeper"]
    assert crawl.reader.projects()[0].counts == {"new": 1, "waiting": 1}
    assert crawl.reader.tasks(crawl.project.id) == []
    assert crawl.reader.results(crawl.project.id) == []
    reborn = crawl.storage.push("shop", "x", now_ms=1)
    assert reborn.id > keeper.id
    assert len(crawl.storage.submit(reborn.id, [follow("t1")], crawl.now_ms).entered) == 1  # not "known"


def test_a_project_removed_but_for_its_results_stays_readable_and_can_start_over(crawl: Crawl) -> None:
    tasks = crawl.tasks("a", "b", "c")
    crawl.commit(outcome(tasks[0], results=[b"1"]))
    assert [crawl.storage.remove("shop", 2, keep_results=True) for _ in range(3)] == [1, 1, 0]
    assert crawl.results() == {"a": ["1"]}
    assert crawl.reader.tasks(crawl.project.id) == []
    assert crawl.counts() == {"results": 1}
    assert crawl.storage.push("shop", "x", now_ms=1).id == crawl.project.id
    crawl.commit(outcome(crawl.task("a"), results=[b"2"]))
    assert crawl.results() == {"a": ["2"]}
    assert crawl.counts()["results"] == 1


def test_an_internal_outcome_of_a_removed_project_leaves_no_orphans(crawl: Crawl) -> None:
    while crawl.storage.remove("shop"):
        pass
    cron = Outcome(crawl.project.id, "_on_cronjob", 0, 1, b"", End.SUCCESS, follows=[follow("a")])
    assert crawl.commit(cron).ended[0].late
    assert crawl.reader.tasks(crawl.project.id) == []


def test_sessions_are_remembered_until_they_are_dropped(crawl: Crawl) -> None:
    one, two = b"1" * 16, b"2" * 16
    crawl.storage.add_session(one, "vm-1", 1)
    crawl.storage.add_session(two, "vm-1", 2)
    crawl.storage.add_session(one, "vm-2" * 100, 3)
    assert crawl.storage.sessions() == [one, two]
    crawl.storage.drop_session(one)
    crawl.storage.drop_session(one)
    crawl.close()
    crawl.open()
    assert crawl.storage.sessions() == [two]


@pytest.mark.parametrize("few", [0, 5000], ids=["many", "few"])
def test_a_reader_pages_tasks_of_a_status_by_key(crawl: Crawl, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zspider.storage.tasks.FEW_ROWS", few)
    tasks = crawl.tasks(*(f"t{number}" for number in range(30)), priority=3)
    crawl.commit(*(outcome(task, End.FATAL, reason="no") for task in tasks[:12]))
    for status, expected in ((Status.FAILED, tasks[:12]), (Status.ACTIVE, tasks[12:]), (None, tasks)):
        found: list[str] = []
        after = b""
        while page := crawl.reader.tasks(crawl.project.id, status, after, 5):
            found += [row.taskid for row in page]
            after = page[-1].key
        assert found == [task.taskid for task in sorted(expected, key=lambda task: task.ref.key)]


def test_a_reader_pages_results_and_never_cuts_a_task_in_two(crawl: Crawl) -> None:
    tasks = crawl.tasks(*(f"t{number}" for number in range(9)))
    crawl.commit(
        *(outcome(task, results=[b"%d" % item for item in range(1 + 40 * (at == 4))]) for at, task in enumerate(tasks))
    )
    found: list[str] = []
    after = b""
    while page := crawl.reader.results(crawl.project.id, after, 4):
        found += [f"{result.taskid}/{result.item}" for result in page]
        after = page[-1].key
    assert len(found) == len(set(found)) == 8 + 41


def test_a_page_of_large_results_ends_early(crawl: Crawl) -> None:
    tasks = crawl.tasks(*(f"t{number}" for number in range(24)))
    for task in tasks:
        crawl.commit(outcome(task, results=[b'"' + b"x" * 1024 * 1024 + b'"']))
    assert len(crawl.reader.results(crawl.project.id, limit=1000)) < 24
    assert len(crawl.results()) == 24


def test_the_full_detail_of_a_task_is_there(crawl: Crawl) -> None:
    crawl.submit(
        Follow("page", "http://a/", b"body", priority=4, retries=2, age_ms=5, itag="1", auto_recrawl=True, exetime_ms=9)
    )
    row = crawl.row("page")
    assert (row.taskid, row.url, row.body, row.track) == ("page", "http://a/", b"body", None)
    assert (row.status, row.priority, row.retries, row.age_ms, row.itag) == (Status.ACTIVE, 4, 2, 5, "1")
    assert row.auto_recrawl is True
    assert (row.due_ms, row.updated_ms) == (0, crawl.now_ms)
    assert not crawl.knows("nothing")


def test_a_removal_that_was_begun_is_known_to_the_next_master_and_nothing_else_is_written(crawl: Crawl) -> None:
    crawl.tasks(*(f"t{number}" for number in range(20)))
    project = crawl.project.id
    assert crawl.storage.remove("shop", 5) == 15
    for _ in range(2):
        (row,) = crawl.storage.projects()
        assert (row.status, row.counts["_removing"], row.counts["waiting"]) == (ProjectStatus.STOP, 1, 15)
        for refused in (
            lambda: crawl.storage.set_project(project, now_ms=9, status=ProjectStatus.RUNNING),
            lambda: crawl.storage.start(project, ProjectStatus.RUNNING, follow("on_start"), 9),
            lambda: crawl.storage.submit(project, [follow("new")], 9),
            lambda: crawl.storage.push("shop", "x", now_ms=9),
            lambda: crawl.storage.clear_results(project),
            lambda: crawl.storage.restart_task(project, "t1", 9),
        ):
            with pytest.raises(StorageError, match="being removed"):
                refused()
        assert crawl.storage.project("shop") == row  # nothing was changed
        crawl.storage.close()
        crawl.reader.close()
        crawl.storage = open_storage(crawl.address, rules=crawl.rules, seen=1000)
        crawl.storage.take_over("me", crawl.now_ms)
        crawl.reader = Reader(crawl.address)
    while crawl.storage.remove("shop", 5):
        pass
    assert crawl.storage.project("shop") is None
    assert crawl.storage.push("shop", "x", now_ms=9).id == project + 1


def test_results_that_were_to_go_go_although_somebody_asks_again_to_keep_them(crawl: Crawl) -> None:
    task = crawl.task("a")
    crawl.commit(outcome(task, results=[b"1", b"2"]))
    assert crawl.storage.remove("shop", 1, keep_results=True) > 0
    assert crawl.storage.remove("shop", 1) > 0  # now all is to go
    while crawl.storage.remove("shop", 1, keep_results=True):
        pass
    assert crawl.storage.project("shop") is None


def test_a_project_that_kept_its_results_is_not_going_any_more(crawl: Crawl) -> None:
    crawl.commit(outcome(crawl.task("a"), results=[b"1"]))
    while crawl.storage.remove("shop", keep_results=True):
        pass
    assert "_removing" not in crawl.all_counts()
    assert crawl.storage.set_project(crawl.project.id, now_ms=9, rate=5).rate == 5


def test_a_start_is_one_transaction(crawl: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    crawl.storage.set_project(crawl.project.id, now_ms=1, status=ProjectStatus.STOP)
    report, project = crawl.storage.start(crawl.project.id, ProjectStatus.RUNNING, follow("on_start"), 9)
    assert [task.taskid for task in report.entered] == ["on_start"]
    assert (project.status, project.counts["waiting"]) == (ProjectStatus.RUNNING, 1)
    crawl.storage.set_project(crawl.project.id, now_ms=1, status=ProjectStatus.STOP)

    def refuse(*_: object) -> None:
        raise StorageError("refused")

    monkeypatch.setattr(crawl.storage._projects, "change", refuse)
    with pytest.raises(StorageError, match="refused"):
        crawl.storage.start(crawl.project.id, ProjectStatus.RUNNING, follow("second"), 9)
    assert not crawl.knows("second")


def test_an_outcome_that_nobody_can_write_fails_its_own_task_only(
    crawl: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, odd = crawl.tasks("good", "odd")
    real = Batch.end

    def end(batch: Batch, one: Outcome, is_writable: bool) -> bool:
        if one.taskid == "odd" and one.end is End.SUCCESS:
            raise KeyError("nobody foresaw this")
        return real(batch, one, is_writable)

    monkeypatch.setattr(Batch, "end", end)
    report = crawl.commit(outcome(good, results=[b"1"]), outcome(odd, results=[b"2"]))
    assert [number for number, _ in report.bad] == [1]
    assert crawl.results() == {"good": ["1"]}
    assert crawl.row("odd").status is Status.FAILED
    assert "nobody foresaw this" in crawl.row("odd").reason
