"""Finds what this project's texts refer to (files, sections, settings, verbs, make targets, links) and is not there.

Each `wrong_...` function takes a text and what there is, and returns the references that lead nowhere, as they stand in
the text.
"""

import ast
import re
import tokenize
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import click
from zspider.cli.app import zspiderd
from zspider.cli.config import leaves
from zspider.cli.group import DefaultGroup
from zspider.settings import MasterFile, SlaveFile

ROOT = Path(__file__).parents[2]
TOP_FOLDERS = ("docs", "tests", "conf", "examples", "systemd", "benchmarks", "fuzz", "scripts", "zspider")
BASES = ("", "zspider", "tests", "docs")  # what a path in a text may begin below, beside the text's own folder
OF_PYSPIDER = frozenset({"scheduler.threads"})  # settings of its config.json that our sections have not

_FENCE = re.compile(r"(?ms)^```.*?^```")
_HEADING = re.compile(r"(?m)^#+ (.+)$")
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_DOCUMENT = re.compile(r"(?<![\w/.:~<-])[\w-]+(?:/[\w-]+)*\.md\b")
_NUMBER = r"\d+(?:\.\d+)*"
_SECTION = re.compile(rf"([\w/-]+\.md)(?:\)?,? section)? ({_NUMBER}(?:(?:,| and|, and| to) {_NUMBER})*)")
_PATH = re.compile(r"[\w.*@{},-]+(?:/[\w.*@{},-]*)+")
_FILE = re.compile(r"(?:[\w*-]+/)+[\w.*@-]+\.(?:py|md|yaml|service|json)\b")
_CODE_FILE = re.compile(rf"(?<![\w/.:~<>-])(?:{'|'.join(TOP_FOLDERS)})/[\w./*@-]*\w\.(?:py|md|yaml|service|json)\b")
_PLACEHOLDER = re.compile(r"\b(?:NAME|PROJECT|FILE)\b")
_TEST = re.compile(r"([\w/]+\.py)::(\w+)")
_SETTING = re.compile(r"([a-z]+)\.([a-z_]+)(?:: .*)?")
_IN_BRACKETS = re.compile(r"\(([a-z]+\.[a-z_]+)\)")
_COMMAND = re.compile(r"(?:\$ )?(?:\S*/)?zspiderd (.*)")
_MAKE = re.compile(r"make ([a-z][a-z-]*(?: \| [a-z][a-z-]*)*)")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


class Document(NamedTuple):
    """The headings of a Markdown file: the numbers they begin with, and their anchors."""

    numbers: frozenset[str]
    anchors: frozenset[str]


def read_document(text: str) -> Document:
    """Read a Markdown text's headings; anchors are made as the usual viewers make them."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    numbers = {found[0] for heading in headings if (found := re.match(rf"{_NUMBER}(?=\.? )", heading))}
    return Document(frozenset(numbers), frozenset(anchor(heading) for heading in headings))


def anchor(heading: str) -> str:
    """`2.3 "crawl()"` -> `23-crawl`: lower case, without punctuation, spaces as dashes."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


# --- files ---------------------------------------------------------------------------------------------------


def exists(name: str, folder: Path, root: Path = ROOT) -> bool:
    """Whether a path, or a pattern with *, leads to something below `folder` or one of BASES."""
    name = name.rstrip("/")
    places = (folder, *(root / base for base in BASES))
    return any(any(place.glob(name)) if "*" in name else (place / name).exists() for place in places)


def wrong_documents(text: str, folder: Path, root: Path = ROOT) -> list[str]:
    """Names of Markdown files that are not there, such as `plan.md`."""
    return [name for name in _DOCUMENT.findall(text) if not exists(name, folder, root)]


def wrong_files(text: str, folder: Path, root: Path = ROOT) -> list[str]:
    """Paths in backticks: those to files, and those that begin with a folder of ours."""
    first = {path.name for base in BASES for path in (root / base).iterdir() if path.is_dir()}
    paths = [found[0] for span in _SPAN.findall(text) if (found := _PATH.match(span.partition("::")[0]))]
    ours = [path for path in paths if _FILE.fullmatch(path) or path.partition("/")[0] in first]
    ours = [path for path in ours if not _PLACEHOLDER.search(path)]
    return [path for path in ours if not exists(path, folder, root)]


def wrong_code_files(text: str, root: Path = ROOT) -> list[str]:
    """Paths in a program's comments and docstrings that begin with a top folder."""
    return [path for path in _CODE_FILE.findall(text) if not exists(path, root, root)]


def wrong_tests(text: str, root: Path = ROOT) -> list[str]:
    """`unit/test_x.py::test_y` whose function is not there."""
    return [f"{file}::{test}" for file, test in _TEST.findall(text) if test not in _tests_of(root, file)]


@cache
def _tests_of(root: Path, file: str) -> frozenset[str]:
    paths = [path for base in ("", "tests") if (path := root / base / file).is_file()]
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text())))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


# --- documents -----------------------------------------------------------------------------------------------


def wrong_sections(text: str, documents: Mapping[str, Document]) -> list[str]:
    """`docs/NAME.md 4.6`, `NAME.md 4.3, 4.6 to 4.8` and `[Name](NAME.md), section 5`, whose numbers no heading has.

    documents: by file name.
    """
    wrong = []
    for name, listed in _SECTION.findall(_in_one_line(text)):
        document = documents.get(name.rpartition("/")[2])
        for number in re.findall(_NUMBER, listed):
            if document is None or number not in document.numbers:
                wrong.append(f"{name} {number}")
    return wrong


def _in_one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*(?:# ?)?", " ", text)


def wrong_links(text: str, documents: Mapping[str, Document], own: Document, folder: Path) -> list[str]:
    """Relative links of a Markdown text whose file, or whose anchor in it, is not there."""
    wrong = []
    for target in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, mark = target.partition("#")
        document = documents.get(Path(file).name) if file else own
        if (file and not (folder / file).exists()) or (mark and (document is None or mark not in document.anchors)):
            wrong.append(target)
    return wrong


# --- programs ------------------------------------------------------------------------------------------------


_STRINGS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
_BEFORE_DOCSTRINGS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def prose(program: str, *, with_data: bool) -> str:
    """The comments and docstrings of a Python program, one after the other; with_data: its other texts, too."""
    found = []
    before = tokenize.NEWLINE
    for token in tokenize.generate_tokens(StringIO(program).readline):
        if token.type == tokenize.COMMENT or (token.type in _STRINGS and (with_data or before in _BEFORE_DOCSTRINGS)):
            found.append(token.string)
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            before = token.type
    return "\n".join(found)


# --- settings ------------------------------------------------------------------------------------------------


def settings() -> frozenset[str]:
    """All settings as `section.name`, and those of no section by their name."""
    return frozenset(".".join(path) for kind in (MasterFile, SlaveFile) for path in leaves(kind))


def wrong_settings(text: str, known: Collection[str]) -> list[str]:
    """`section.name` in backticks, or alone in round brackets, of a section that has no such setting."""
    sections = {name.partition(".")[0] for name in known if "." in name}
    spans = [f"{found[1]}.{found[2]}" for span in _SPAN.findall(text) if (found := _SETTING.fullmatch(span))]
    names = [*spans, *_IN_BRACKETS.findall(text)]
    ours = [name for name in names if name.partition(".")[0] in sections and not name.endswith((".yaml", ".md"))]
    return [name for name in ours if name not in known and name not in OF_PYSPIDER]


# --- commands ------------------------------------------------------------------------------------------------


def commands(text: str) -> Iterator[str]:
    """What is in backticks, and the lines of code blocks without their comments; of several joined by && each."""
    blocks = [line for block in _FENCE.findall(text) for line in block.splitlines()]
    blocks += re.findall(r"(?m)^ {4,}(\S.*)$", _FENCE.sub("", text))
    for line in [*_SPAN.findall(text), *blocks]:
        yield from (part.strip() for part in line.partition("  #")[0].split("&&"))


def wrong_verbs(text: str, verbs: click.Group = zspiderd) -> list[str]:
    """`zspiderd VERB ...` that is no verb of the command line, or has a flag that its verb does not know."""
    found = [match[1] for command in commands(text) if (match := _COMMAND.match(command))]
    return [f"zspiderd {words}" for words in found if not _is_command(words, verbs)]


def _is_command(words: str, verbs: click.Group) -> bool:
    command: click.Command = verbs
    for word in words.split():
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        found = command.get_command(click.Context(command), word)
        if found is None and not isinstance(command, DefaultGroup):
            return False
        if found is None:
            break
        command = found
    known = _flags(command)
    return all(flag in known for flag in _FLAG.findall(_QUOTED.sub("", words).partition(" | ")[0]))


def _flags(command: click.Command) -> frozenset[str]:
    """The flags of a verb; of one with verbs below it, theirs as well."""
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    if isinstance(command, DefaultGroup):
        flags = flags.union(*(_flags(each) for each in command.commands.values()))
    return frozenset({*flags, "--help", "--version"})


def targets(makefile: str) -> frozenset[str]:
    """The targets of a Makefile that people call."""
    return frozenset(re.findall(r"(?m)^([a-z][a-z-]*):", makefile))


def wrong_targets(text: str, known: Collection[str]) -> list[str]:
    """`make TARGET` of a target that is not there."""
    found = [match[1] for command in commands(text) if (match := _MAKE.match(command))]
    return [f"make {name}" for names in found for name in names.split(" | ") if name not in known]
