"""What a script uses, and where zspider behaves differently for it. Nothing runs.

Source: docs/pyspider-behaviour.md 9.
"""

import ast
from collections.abc import Iterator
from typing import NamedTuple

from zspider.script.check import old_names
from zspider.script.check.old_python import old_python
from zspider.script.check.syntax import Finding, parse
from zspider.script.crawl.options import KNOWN

_ONE_BY_ONE = ("pyspider", "libs", "projects")  # packages whose modules are found one by one
_CATCH_IMPORTS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
_RENDERER_OPTIONS = ("js_script", "js_run_at", "js_viewport_width", "js_viewport_height", "load_images")
_MERGED = ("headers", "cookies")


class Import(NamedTuple):
    """A module that a script imports. is_optional: the script says what to do without it."""

    line: int
    module: str
    is_optional: bool


class Callback(NamedTuple):
    """A method that `crawl()` is given by name."""

    line: int
    name: str


class Review(NamedTuple):
    """The findings from the text of a script. is_complete: there is no syntax error, so that it may be loaded."""

    findings: list[Finding]
    imports: list[Import]
    callbacks: list[Callback]
    is_complete: bool


class _Option(NamedTuple):
    """An option of crawl() where it is given: in a call, in @config, or in crawl_config."""

    place: str
    name: str
    value: ast.expr


def review(text: str) -> Review:
    """Review the text of a script."""
    tree, findings = parse(text)
    if tree is None:
        return Review(findings, [], [], False)
    options = list(_options(tree))
    found = [
        *findings,
        *_gone_imports(tree),
        *(Finding(*old) for old in old_python(tree)),
        *_changed_options(options),
        *_changed_classes(tree),
    ]
    callbacks = [Callback(one.value.lineno, name) for one in options if (name := _callback(one))]
    return Review(sorted(found), list(_imports(tree)), callbacks, not findings)


def missing(one: Import) -> Finding:
    """Return the finding for a module that is missing."""
    root, _, name = one.module.partition(".")
    if root == "projects":
        text = f"there is no {name}.py beside this script; on a cluster it is a project of the master"
    elif root in _ONE_BY_ONE:
        text = f"zspider has no {one.module}: a script returns results, it does not reach the database"
    elif root in old_names.MODULES:
        text = f"this Python has no module {root}: use {old_names.MODULES[root]}"
    else:
        text = f"the module {root} is not installed here; every slave that runs this script needs it"
    return Finding(one.line, True, text)


# --- what it imports -------------------------------------------------------------------------------


def _imports(tree: ast.Module) -> Iterator[Import]:
    optional = _optional(tree)
    seen = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
            if node.module == "projects":
                names = [f"projects.{alias.name}" for alias in node.names]
        for name in names:
            module = name if name.partition(".")[0] in _ONE_BY_ONE else name.partition(".")[0]
            if module not in seen:
                seen.add(module)
                yield Import(node.lineno, module, id(node) in optional)  # type: ignore[attr-defined]


def _gone_imports(tree: ast.Module) -> Iterator[Finding]:
    """Find imports of names that modules no longer have, such as `from urllib import urlencode`."""
    optional = _optional(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level and id(node) not in optional:
            for alias in node.names:
                if use := old_names.ATTRIBUTES.get((node.module, alias.name)):
                    yield Finding(node.lineno, True, f"this Python has no {node.module}.{alias.name}: use {use}")


def _optional(tree: ast.Module) -> set[int]:
    """Return the ids of nodes that may fail to import something."""
    return {id(node) for attempt in ast.walk(tree) if _catches_imports(attempt) for node in ast.walk(attempt)}


def _catches_imports(node: ast.AST) -> bool:
    if not isinstance(node, ast.Try):
        return False
    caught = {name.id for handler in node.handlers if handler.type for name in _names(handler.type)}
    return bool(caught & _CATCH_IMPORTS) or any(handler.type is None for handler in node.handlers)


def _names(node: ast.AST) -> Iterator[ast.Name]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name))


# --- options of crawl() --------------------------------------------------------------------------------


def _options(tree: ast.Module) -> Iterator[_Option]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="crawl"), keywords=keywords):
                yield from (_Option("crawl", each.arg, each.value) for each in keywords if each.arg)
            case ast.Call(func=ast.Name(id="config"), args=args, keywords=keywords):
                yield from (_Option("@config", each.arg, each.value) for each in keywords if each.arg)
                yield from (option for arg in args for option in _items("@config", arg))
            case ast.ClassDef(body=body):
                for each in body:
                    match each:
                        case ast.Assign(targets=[ast.Name(id="crawl_config")], value=value):
                            yield from _items("crawl_config", value)


def _items(place: str, node: ast.expr) -> Iterator[_Option]:
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield _Option(place, key.value, value)


def _callback(option: _Option) -> str:
    """Return the method's name if the option is a callback that is named here, else ""."""
    if option.name != "callback":
        return ""
    match option.value:
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            return name
        case ast.Constant(value=str(name)):
            return name
    return ""


def _changed_options(options: list[_Option]) -> Iterator[Finding]:
    given = {option.name for option in options if option.place == "crawl"}
    for option in options:
        line, name = option.value.lineno, option.name
        if name not in KNOWN and option.place != "crawl_config":  # there it is ignored
            yield Finding(line, True, f"crawl() has no option {name!r}; with it the task's callback fails")
        elif name == "fetch_type" and not (isinstance(option.value, ast.Constant) and not option.value.value):
            shown = ast.unparse(option.value)
            yield Finding(line, True, f"fetch_type={shown} needs a browser, which is not there yet: pages come as 501")
        elif name in _RENDERER_OPTIONS:
            yield Finding(line, False, f"{name} is for pages fetched in a browser; others do not heed it")
        elif name == "age" and _is_minus_one(option.value):
            yield Finding(
                line, False, "age=-1: pyspider never retries such a page; here it is retried as without age (retries=0)"
            )
        elif option.place == "@config" and name in _MERGED and name in given:
            yield Finding(
                line, False, f"@config({name}=...): of equal entries those given to crawl() win here, not these"
            )
        elif option.place == "crawl_config" and name == "user_agent":
            yield Finding(line, False, "crawl_config's user_agent has no effect in pyspider; here it is sent")


def _is_minus_one(node: ast.expr) -> bool:
    return isinstance(node, ast.UnaryOp) and ast.unparse(node) == "-1"


# --- classes and decorators ----------------------------------------------------------------------------


def _changed_classes(tree: ast.Module) -> Iterator[Finding]:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    bases = {name.id for one in classes for base in one.bases for name in _names(base)}
    for one in classes:
        if any(name.id == "ResultWorker" for base in one.bases for name in _names(base)):
            text = "a ResultWorker is not run: results are stored by the master; override on_result in the handler"
            yield Finding(one.lineno, False, text)
        for method in one.body:
            if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            marks = {name.id for mark in method.decorator_list for name in _names(mark)}
            if "every" in marks and one.name in bases:
                text = "pyspider does not run an @every method of a base class; here its handlers inherit it"
                yield Finding(method.lineno, False, text)
            if "not_send_status" in marks:
                text = (
                    "@not_send_status: pyspider runs such a task again every 600 s; here it is done, without a record"
                )
                yield Finding(method.lineno, False, text)
