"""Importing other projects: what is asked for when, and which module it gives."""

import sys
from collections.abc import Iterator
from hashlib import sha256

import pytest
from tests.support.scripts import STAR, loaded
from zspider.script.errors import LoadError, ProjectImportError
from zspider.script.loader import load
from zspider.script.projects import ProjectFinder, ProjectText

BASE = (
    STAR + "import time\nvalue = time.monotonic_ns()\nclass Handler(BaseHandler):\n    def page(self): return 'base'\n"
)


class Master:
    """Knows projects by name, and remembers what it was asked."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.asked: list[str] = []

    def ask(self, name: str) -> ProjectText | None:
        self.asked.append(name)
        text = self.texts.get(name)
        return None if text is None else ProjectText(sha256(text.encode()).digest(), "STOP", text)


@pytest.fixture
def master() -> Iterator[Master]:
    loaded("class Handler(BaseHandler): pass")  # the shim is there
    master = Master()
    finder = ProjectFinder(master.ask)
    finder.install()
    master.finder = finder
    yield master
    finder.forget_imports()
    sys.meta_path.remove(finder)


def names(text):
    """What a script has after it is loaded."""
    return vars(load({"name": "mine", "status": "RUNNING"}, STAR + text + "\nclass H(BaseHandler): pass").module)


@pytest.mark.parametrize(
    "statement",
    ["from projects import other", "import projects.other as other", "import projects; from projects import other"],
)
def test_a_project_is_a_module_with_pyspiders_names(master, statement):
    master.texts["other"] = BASE
    other = names(statement)["other"]
    assert other.Handler.page(None) == "base"
    assert (other.__file__, other.__project__["name"], other.__project__["status"]) == ("<other>", "other", "STOP")
    assert (other.__project__["script"], other.logger.name, other.log_buffer) == (BASE, "other", [])
    assert other.__loader__.get_source("other") == BASE


def test_a_handler_may_be_built_on_another_projects(master):
    master.texts["other"] = BASE
    script = load(
        {"name": "mine", "status": "RUNNING"}, "from projects.other import Handler\nclass Mine(Handler): pass"
    )
    assert (type(script.handler).__name__, script.handler.page()) == ("Mine", "base")


def test_one_module_serves_all_importers_and_each_new_load_asks_again(master):
    master.texts["other"] = BASE
    first = names("from projects import other")["other"]
    second = names("from projects import other\nfrom projects.other import value")["other"]
    assert second is first
    assert master.asked == ["other"]  # as sys.modules has it
    master.finder.forget_imports()
    assert names("from projects import other")["other"] is first  # the same version
    assert master.asked == ["other", "other"]
    master.texts["other"] = BASE + "new = 1\n"
    master.finder.forget_imports()
    third = names("from projects import other")["other"]
    assert third is not first
    assert third.new == 1


def test_projects_that_import_projects_also_each_other(master):
    master.texts["a"] = "from projects import b\nx = 1"
    master.texts["b"] = "import projects.a\ny = 2"
    found = names("from projects import a")["a"]
    assert (found.x, found.b.y) == (1, 2)


def test_an_unknown_project_is_one_line_that_says_what_to_do(master):
    with pytest.raises(LoadError) as caught:
        names("from projects import other")
    assert str(caught.value).startswith("ImportError: no project named 'other' on this master: push it there")
    assert (caught.value.lacks, caught.value.is_missing_module) == ("other", False)
    assert "importlib" not in caught.value.traceback
    assert (
        names("try:\n    from projects import other\nexcept ImportError as e: name = e.name")["name"]
        == "projects.other"
    )


def test_an_error_in_the_other_project_is_shown_in_its_lines_and_tried_again(master):
    master.texts["other"] = "x = 1\n1 / 0"
    for _ in range(2):
        with pytest.raises(LoadError) as caught:
            names("from projects import other")
        assert str(caught.value) == "ZeroDivisionError: division by zero"
        assert 'File "<other>", line 2, in <module>\n    1 / 0' in caught.value.traceback
        assert "importlib" not in caught.value.traceback
    assert master.asked == ["other", "other"]


def test_a_module_that_the_other_project_misses_is_this_machines_problem(master):
    master.texts["other"] = "import no_such_module_here"
    with pytest.raises(LoadError) as caught:
        names("from projects import other")
    assert caught.value.is_missing_module


def test_a_project_of_a_project_that_is_unknown_is_named(master):
    master.texts["a"] = "from projects import b"
    with pytest.raises(LoadError) as caught:
        names("from projects import a")
    assert caught.value.lacks == "b"


def test_a_directory_named_projects_is_not_in_the_way(master, tmp_path, monkeypatch):
    (tmp_path / "projects" / "other").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    master.texts["other"] = BASE
    assert names("from projects import other")["other"].Handler


def test_other_imports_are_left_alone(master):
    assert names("import json")["json"].dumps(1) == "1"
    assert master.asked == []


def test_the_error_is_an_import_error():
    assert issubclass(ProjectImportError, ImportError)
    assert not issubclass(ProjectImportError, ModuleNotFoundError)
