"""docs/scripts.md says what is so: its Python runs, its tables hold every name, and the tests that it names exist."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from textwrap import indent
from types import FunctionType
from typing import Any

import pytest
from tests.support.scripts import STAR, loaded, page
from tests.unit.script import test_api_names as api_names
from zspider.delivery import (
    BODY_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_MAX,
    RESULT_BYTES_MAX,
    RESULTS_MAX,
    TRACK_BYTES_MAX,
)
from zspider.script.crawl import options
from zspider.script.limits import USUAL_LIMITS
from zspider.script.loader import LoadedScript
from zspider.script.page.response import Response
from zspider.script.projects import ProjectFinder, ProjectText
from zspider.script.runner import run
from zspider.settings import FetchSettings, LimitSettings, ProcessorSettings
from zspider.task import URL_BYTES_MAX

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/scripts.md").read_text()
BLOCKS = re.findall(r"(?s)```python\n(.*?)```", TEXT)
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
SHOP_BASE = STAR + "class Handler(BaseHandler):\n    def price(self, response): return response.doc('.price').text()\n"
HTML = b"""<title>t</title><main><h1>Tea</h1><a class="product" href="/p/1">p</a>
<a class="next" href="?page=2">next</a>
<img src="a.png"><table><tr><td>1</td></tr></table><span class="price">5</span></main>"""
CALLED_BY_OTHERS = ("on_result", "get_taskid")


def section(title: str) -> str:
    """The text under a heading, with the headings below it."""
    marks, text = re.search(rf"(?ms)^(#+) {re.escape(title)}\n(.*)", TEXT).groups()
    return re.split(rf"(?m)^#{{1,{len(marks)}}} ", text)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    rules = {at for at, line in enumerate(lines) if line.startswith("|---")}
    return [row for at, row in enumerate(cells) if at not in rules and at + 1 not in rules]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- what is Python ------------------------------------------------------------------------------------


@pytest.fixture
def shop_base() -> Iterator[None]:
    def ask(name: str) -> ProjectText | None:
        return ProjectText(sha256(SHOP_BASE.encode()).digest(), "STOP", SHOP_BASE) if name == "shop_base" else None

    finder = ProjectFinder(ask)
    finder.install()
    yield
    finder.forget_imports()
    sys.meta_path.remove(finder)


def script_of(block: str) -> LoadedScript:
    """A script as it is, or methods and attributes as they stand in a handler."""
    is_script = "class Handler" in block
    return loaded(block if is_script else "class Handler(BaseHandler):\n" + indent(block, "    "))


def test_there_is_python_to_test():
    assert len(BLOCKS) >= 10


@pytest.mark.usefixtures("shop_base")
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_python_in_it_runs(block):
    script = script_of(block)
    methods = [name for name, value in vars(type(script.handler)).items() if isinstance(value, FunctionType)]
    content = b'{"page": 2}' if "response.json" in block else HTML
    outcomes = {
        name: run(script, *page(f"_{name}", save=["demo", {"row": 1}]))
        if name == "on_message"
        else run(script, *page(name, content))
        for name in methods
        if name not in CALLED_BY_OTHERS
    }
    assert {name: outcome.reason for name, outcome in outcomes.items()} == dict.fromkeys(outcomes, "")
    for name, outcome in outcomes.items():
        assert outcome.follows or outcome.results or outcome.messages, f"{name} does nothing that can be seen"


# --- what is listed --------------------------------------------------------------------------------------


def test_every_option_of_crawl_is_listed_and_no_other():
    listed = [
        name
        for title in ("What to do with the page", "When", "How to fetch it")
        for row in rows(section(title))
        for name in names(row[0])
    ]
    assert sorted([*listed, "last_modifed"]) == sorted(options.KNOWN)
    assert "`last_modifed`" in section("How to fetch it")


def test_options_are_under_the_heading_that_says_when_they_are_settled():
    assert {name for row in rows(section("When")) for name in names(row[0])} == set(options.SCHEDULE)


def test_every_member_of_response_is_listed_and_no_other():
    ours = {"known_encoding", "start_of_text"}  # for the runner; scripts have `encoding` and `text`
    members = {name for name in dir(Response({})) if not name.startswith("_")} - ours
    listed = {name.partition("(")[0] for row in rows(section("Response")) for name in names(row[0])} - {"bool"}
    assert listed == members


def test_the_limits_are_those_of_the_code():
    fetch, processor, limits = FetchSettings(), ProcessorSettings(), LimitSettings()
    mib = 1024**2
    assert {row[0]: (row[1], row[2]) for row in rows(section("Limits"))} == {
        "a URL": (f"{URL_BYTES_MAX:,} bytes", ""),
        "a task's options": (f"{BODY_BYTES_MAX // mib} MiB", ""),
        "a page": (f"{fetch.body_bytes_max // mib} MiB", "`fetch.body_bytes_max`"),
        "a callback's time": (f"{processor.process_time_limit_s:g} s", "`processor.process_time_limit_s`"),
        "a process's memory": (f"{processor.memory_bytes // mib:,} MiB", "`processor.memory_bytes`"),
        "URLs submitted by one run": (f"{limits.follows:,}", "`limits.follows`"),
        "results of one run": (f"{RESULTS_MAX:,}", ""),
        "a result": (f"{RESULT_BYTES_MAX // mib} MiB", ""),
        "messages of one run": (f"{MESSAGES_MAX:,}", ""),
        "a message": (f"{MESSAGE_BYTES_MAX // mib} MiB", ""),
        "all results, or messages, of one run": (f"{limits.outcome_bytes // mib} MiB", "`limits.outcome_bytes`"),
        "`self.save` and the rest of a task's record": (f"{TRACK_BYTES_MAX // mib} MiB", ""),
    }
    assert limits.follows == USUAL_LIMITS.follows


def test_every_link_leads_somewhere():
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall("(?m)^#+ (.+)", TEXT)
    }
    targets = [target.partition("#") for target in re.findall(r"\]\(([^)]+)\)", TEXT)]
    assert [mark for file, _, mark in targets if not file and mark not in headings] == []
    assert [file for file, _, _ in targets if not (ROOT / "docs" / file).exists()] == []


# --- what is compared ------------------------------------------------------------------------------------

LISTS: dict[str, list[tuple[Any, ...]]] = {
    name: value for name, value in vars(api_names).items() if name.isupper() and isinstance(value, list)
}
COMPARED = {found[1]: found[0] for found in re.finditer(r"(?ms)^`([A-Z_]+)`: each is .*?(?=^#|\Z)", TEXT)}


def test_every_list_of_names_is_compared():
    assert set(COMPARED) == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_every_name_is_compared_once_and_no_other(name):
    assert sorted(found for row in rows(COMPARED[name]) for found in names(row[0])) == sorted(
        row[0] for row in LISTS[name]
    )


@pytest.mark.parametrize("name", LISTS)
def test_the_test_that_is_named_for_a_list_is_made_of_it(name):
    (_, test), *_ = TEST.findall(COMPARED[name])
    marks = [mark for mark in getattr(api_names, test).pytestmark if mark.name == "parametrize"]
    assert LISTS[name] in [mark.args[1] for mark in marks]


def test_what_a_comparison_says_is_one_of_four_words():
    verdicts = [row[1] for row in rows(section("Compatibility"))]
    assert len(verdicts) > 80
    assert [verdict for verdict in verdicts if not re.match(r"(same|better|changed|new)\b", verdict)] == []
    assert [verdict for verdict in verdicts if re.fullmatch(r"better|changed", verdict)] == []


@pytest.mark.parametrize("title", ["Beyond pyspider", "Other parts"])
def test_what_is_in_no_list_has_its_tests_named(title):
    assert [row[0] for row in rows(section(title)) if not TEST.search(row[-1])] == []


def test_every_test_that_is_named_exists():
    named = TEST.findall(TEXT)
    assert len(named) > 90
    assert [f"{file}::{test}" for file, test in named if test not in defined_in(file)] == []


@cache
def defined_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    if not path.is_file():
        return frozenset()
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
