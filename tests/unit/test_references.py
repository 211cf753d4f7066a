"""Whatever code, tests and documents refer to is there: files, sections, settings, verbs, make targets, links."""

from pathlib import Path

import pytest
from tests.support import references as find
from tests.support.references import ROOT

SELF = {Path(__file__), Path(find.__file__)}  # they hold wrong references on purpose
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
HISTORY = ROOT / "CHANGELOG.md"  # names what is gone
_PROGRAMS = [
    *("zspider/**/*.py", "tests/**/*.py", "benchmarks/*.py", "fuzz/*.py", "examples/*.py"),
    *("conf/*.yaml", "systemd/*.service", "scripts/*", "Makefile", "pyproject.toml"),
]
PROGRAMS = sorted({path for pattern in _PROGRAMS for path in ROOT.glob(pattern) if path.is_file()} - SELF)
DOCUMENTS = {page.name: find.read_document(page.read_text()) for page in PAGES if page.parent != ROOT / "benchmarks"}
SETTINGS = find.settings()
TARGETS = find.targets((ROOT / "Makefile").read_text())


def named(paths):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in sorted(paths)]


# --- the whole project -----------------------------------------------------------------------------------------


def test_there_is_much_to_look_at():
    assert len(PAGES) > 10
    assert len(PROGRAMS) > 300
    assert "4.6" in DOCUMENTS["pyspider-behaviour.md"].numbers
    assert "fetch.private_networks" in SETTINGS
    assert "test" in TARGETS
    code = "\n".join(path.read_text() for path in PROGRAMS)
    assert code.count("docs/pyspider-behaviour.md") > 50


@pytest.mark.parametrize("path", named(PROGRAMS))
def test_what_a_program_refers_to_is_there(path):
    text = path.read_text()
    is_python = path.suffix == ".py"
    said = find.prose(text, with_data=False) if is_python else text
    assert find.wrong_code_files(said) == []
    assert find.wrong_tests(said) == []
    texts = find.prose(text, with_data=True) if is_python else text
    assert find.wrong_documents(texts, path.parent) == []
    assert find.wrong_sections(texts, DOCUMENTS) == []
    assert find.wrong_settings(texts, SETTINGS) == []
    assert find.wrong_verbs(texts) == []
    assert find.wrong_targets(texts, TARGETS) == []


@pytest.mark.parametrize("path", named(PAGES))
def test_the_links_of_a_page_lead_somewhere(path):
    text = path.read_text()
    assert find.wrong_links(text, DOCUMENTS, find.read_document(text), path.parent) == []


@pytest.mark.parametrize("path", named(set(PAGES) - {HISTORY}))
def test_what_a_page_refers_to_is_there(path):
    text = path.read_text()
    assert find.wrong_documents(text, path.parent) == []
    assert find.wrong_sections(text, DOCUMENTS) == []
    assert find.wrong_files(text, path.parent) == []
    assert find.wrong_tests(text) == []
    assert find.wrong_settings(text, SETTINGS) == []
    assert find.wrong_verbs(text) == []
    assert find.wrong_targets(text, TARGETS) == []


# --- the finders: each finds what is wrong, and nothing else -----------------------------------------------------

PAGE = """# A page
## 4 Deciding
### 4.6 What `crawl()` does again, and _why_
### 4.10 Pause
## Limits
## 5. Ends
```
# no heading
```
"""
DOCS = {"page.md": find.read_document(PAGE)}


@pytest.fixture
def project(tmp_path):
    """A project of a few files."""
    for name in ("docs/page.md", "zspider/storage/schema.py", "conf/master.yaml", "examples/one.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "tests/unit/test_a.py").write_text(
        "def test_one(): ...\n\nclass TestTwo:\n    def test_two(self): ...\n"
    )
    return tmp_path


def test_headings_give_numbers_and_anchors():
    assert DOCS["page.md"].numbers == {"4", "4.6", "4.10", "5"}
    assert DOCS["page.md"].anchors == {
        *("a-page", "4-deciding", "46-what-crawl-does-again-and-_why_", "410-pause", "limits", "5-ends"),
    }


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("see docs/page.md 4.6", []),
        ("see page.md here, and https://example.org/other.md", []),
        ("hashlib.md5(text)", []),
        ("the decisions of plan.md section 4", ["plan.md"]),
        ("(other.md 4.6)", ["other.md"]),
        ("docs/pages.md", ["docs/pages.md"]),
    ],
)
def test_a_document_that_is_not_there_is_found(project, text, wrong):
    assert find.wrong_documents(text, project / "zspider", project) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("docs/page.md 4.6", []),
        ("(docs/page.md 4.6, 4.10)", []),
        ("docs/page.md 4.6 and 4.10, row by row", []),
        ("docs/page.md has 5 parts", []),
        ("[A page](page.md), section 5", []),
        ("[A page](page.md), section 6", ["page.md 6"]),
        ("docs/page.md 4.7", ["docs/page.md 4.7"]),
        ("page.md 4.6, 4.7 to 4.11.", ["page.md 4.7", "page.md 4.11"]),
        ("# as docs/page.md\n    # 4.1 says", ["docs/page.md 4.1"]),
        ("other.md 4", ["other.md 4"]),
    ],
)
def test_a_section_that_is_not_there_is_found(text, wrong):
    assert find.wrong_sections(text, DOCS) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](page.md), [b](page.md#46-what-crawl-does-again-and-_why_), [c](#limits), [d](../conf/master.yaml)", []),
        ("[a](https://example.org/x.md#y) [m](mailto:a@example.org)", []),
        ("```\nx[0](y)\n```", []),
        ("[a](pages.md)", ["pages.md"]),
        ("[a](page.md#limit)", ["page.md#limit"]),
        ("[a](#46)", ["#46"]),
        ("[a](../conf/master.yml)", ["../conf/master.yml"]),
    ],
)
def test_a_link_that_leads_nowhere_is_found(project, text, wrong):
    assert find.wrong_links(text, DOCS, DOCS["page.md"], project / "docs") == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`storage/schema.py`, `unit/test_a.py`, `conf/*.yaml`, `tests/unit`, `storage/`", []),
        ("`text/html`, `/etc/zspider/join.token`, `shelf.py.zspider/`, `a/b`", []),
        ("`storage/scheme.py`", ["storage/scheme.py"]),
        ("`tests/units`", ["tests/units"]),
        ("`unit/test_b.py`", ["unit/test_b.py"]),
        ("`conf/*.toml`", ["conf/*.toml"]),
        ("`rolez/master.py`", ["rolez/master.py"]),
        ("`examples/two.py --flag`, `examples/NAME.py`", ["examples/two.py"]),
    ],
)
def test_a_file_that_is_not_there_is_found(project, text, wrong):
    assert find.wrong_files(text, project / "docs", project) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('"""All of conf/master.yaml."""', []),
        ("/etc/zspider/slave.yaml and github.com/zspider/zspider.md", []),
        ('"""All of conf/mister.yaml."""', ["conf/mister.yaml"]),
        ("# see tests/unit/test_b.py", ["tests/unit/test_b.py"]),
    ],
)
def test_a_file_that_a_program_names_is_looked_for(project, text, wrong):
    assert find.wrong_code_files(text, project) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`unit/test_a.py::test_one` and tests/unit/test_a.py::test_two", []),
        ("`unit/test_a.py::test_three`", ["unit/test_a.py::test_three"]),
        ("`unit/test_b.py::test_one`", ["unit/test_b.py::test_one"]),
    ],
)
def test_a_test_that_is_not_there_is_found(project, text, wrong):
    assert find.wrong_tests(text, project) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`fetch.timeout_s`, `fetch.timeout_s: 5`, (fetch.timeout_s), `page.url`, `fetch.yaml`", []),
        ("`fetch.timeout`", ["fetch.timeout"]),
        ("`fetch.timeout: 5`", ["fetch.timeout"]),
        ("over its limit (fetch.timeout)", ["fetch.timeout"]),
    ],
)
def test_a_setting_that_is_not_there_is_found(text, wrong):
    assert find.wrong_settings(text, {"fetch.timeout_s", "data_dir"}) == wrong


PROGRAM = '''
def f():
    """Says (fetch.one)."""
    # in `fetch.two`
    return g(fetch.three, "`fetch.four`")  # not `fetch.five`
'''


@pytest.mark.parametrize(
    ("with_data", "found"),
    [
        (False, ["fetch.two", "fetch.five", "fetch.one"]),
        (True, ["fetch.two", "fetch.four", "fetch.five", "fetch.one"]),
    ],
)
def test_the_prose_of_a_program_is_its_comments_and_docstrings(with_data, found):
    assert find.wrong_settings(find.prose(PROGRAM, with_data=with_data), {"fetch.timeout_s"}) == found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`zspiderd`, `zspiderd status`, `zspiderd project push FILE --rate 5`, `zspiderd --version`", []),
        ("`zspiderd tasks retry shop --url '*'`, `zspiderd tasks shop --status failed`, `zspiderd why shop:1`", []),
        ("    .venv/bin/zspiderd run x.py && zspiderd results x | head --lines 1  # --nothing", []),
        ("`zspiderd fetch \"curl http://a.com/ --data-raw 'x'\"`", []),
        ("```\n$ zspiderd token list\n```", []),
        ("`zspiderd projects`", ["zspiderd projects"]),
        ("`zspiderd project pusch FILE`", ["zspiderd project pusch FILE"]),
        ("`zspiderd master && zspiderd results x --no-such`", ["zspiderd results x --no-such"]),
        ("`zspiderd run FILE --task-url X`", ["zspiderd run FILE --task-url X"]),
        ("    zspiderd slaves --master X", ["zspiderd slaves --master X"]),
        ("```\n$ zspiderd master && zspiderd statsu\n```", ["zspiderd statsu"]),
    ],
)
def test_a_verb_that_is_not_there_is_found(text, wrong):
    assert find.wrong_verbs(text) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`make test`, they make files, and `make fault SEEDS=3`", []),
        ("    make fault | test", []),
        ("`make tests`", ["make tests"]),
        ("    make test && make faults", ["make faults"]),
        ("    make fault | check", ["make check"]),
    ],
)
def test_a_make_target_that_is_not_there_is_found(text, wrong):
    known = find.targets("test: x  ## all\n\tpytest\nfault:\n$(BIN)/python:\nVENV := .venv\n")
    assert find.wrong_targets(text, known) == wrong
