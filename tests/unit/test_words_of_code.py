"""Everything public has a docstring, and no class and no module grows too long to read."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What below zspider/ is held to it.
HELD = ("**/*.py",)
MODULES = sorted({path for pattern in HELD for path in (ROOT / "zspider").glob(pattern)})
CLASS_LINES_MAX = 250
MODULE_LINES_MAX = 450
LONG = {"settings.py"}  # a table of settings, in which each line is read alone
_WITHOUT = {"overload", "setter"}  # their docstring is that of the function they belong to

type_of_code = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(parent: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, type_of_code]]:
    """Yield the name and the node of everything public in a module, methods included."""
    for node in parent.body:
        if isinstance(node, type_of_code) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}{node.name}.")


def is_without(node: type_of_code) -> bool:
    """Return whether a function is an overload or a setter."""
    return any(ast.unparse(one).rpartition(".")[2] in _WITHOUT for one in node.decorator_list)


def classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def faults(text: str) -> list[str]:
    """Return what is wrong with a module's docstrings and with the size of its classes."""
    tree = ast.parse(text)
    docs = [("the module", ast.get_docstring(tree))]
    docs += [(name, ast.get_docstring(node)) for name, node in public(tree) if not is_without(node)]
    found = [f"{name}: no docstring" for name, doc in docs if not doc]
    for node in classes(tree):
        lines = (node.end_lineno or 0) - node.lineno + 1
        found += [f"class {node.name}: {lines} lines"] if lines > CLASS_LINES_MAX else []
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_public_has_a_docstring_and_no_class_is_long(path):
    assert faults(path.read_text()) == []


def test_no_module_is_long():
    lines = {str(path.relative_to(ROOT / "zspider")): path.read_text().count("\n") for path in MODULES}
    assert {name: count for name, count in lines.items() if count > MODULE_LINES_MAX and name not in LONG} == {}


def test_there_is_much_to_look_at():
    assert len(MODULES) > 100


def test_a_fault_is_found():
    long = 'class Long:\n    """A class."""\n' + "    x = 1\n" * CLASS_LINES_MAX
    text = 'def f():\n    pass\n\n\nclass Short:\n    """A class."""\n\n    def g(self):\n        pass\n\n\n' + long
    assert faults(text) == [
        "the module: no docstring",
        "f: no docstring",
        "Short.g: no docstring",
        f"class Long: {CLASS_LINES_MAX + 2} lines",
    ]
    assert faults('"""A module."""\n\n\ndef _private():\n    pass\n') == []
