"""Code that Python 3 reads without an error, but with another meaning than Python 2: found in a script's tree."""

import ast
from collections.abc import Iterator

from zspider.script.check import old_names

PRINT = "print is a function in Python 3: "
_NO_TEXT = {"hex", "base64", "bz2", "zlib", "rot13", "string_escape", "string-escape"}
_LISTS = {"map", "filter", "zip"}  # of Python 2


def old_python(tree: ast.AST) -> Iterator[tuple[int, bool, str]]:
    """Yield findings: the line, whether the script fails there, and what to write instead."""
    bound = _bound_names(tree)
    for node in ast.walk(tree):
        for found in (_gone(node, bound), _statement(node), _list(node, bound), _text(node)):
            if found:
                yield (node.lineno, *found)  # type: ignore[attr-defined]  # only what stands somewhere is found


def _gone(node: ast.AST, bound: set[str]) -> tuple[bool, str] | None:
    """Find names, attributes and methods that Python 3 lacks. bound: names that the script itself defines."""
    match node:
        case ast.Name(id=name, ctx=ast.Load()) if name in old_names.NAMES and name not in bound:
            return True, f"Python 3 has no {name}: use {old_names.NAMES[name]}"
        case ast.Attribute(value=ast.Name(id=module), attr=name) if (
            module in bound and (module, name) in old_names.ATTRIBUTES
        ):
            return True, f"this Python has no {module}.{name}: use {old_names.ATTRIBUTES[module, name]}"
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if name in old_names.METHODS:
            if not (isinstance(owner, ast.Name) and owner.id == "six"):
                return True, f"dicts have no {name}() in Python 3: use {old_names.METHODS[name]}"
        case ast.FunctionDef(name=name) if name in old_names.SPECIAL_METHODS:
            return False, f"Python 3 does not call {name}: name it {old_names.SPECIAL_METHODS[name]}"
    return None


def _statement(node: ast.AST) -> tuple[bool, str] | None:
    """Find print and exec statements that Python 3 reads as expressions."""
    match node:
        case ast.BinOp(left=ast.Name(id="print"), op=ast.RShift()):
            return True, PRINT + "print(..., file=...)"
        case ast.BinOp(left=ast.Name(id="print")) | ast.Subscript(value=ast.Name(id="print")):  # print -1, print [1]
            return True, PRINT + "print(...)"
        case ast.Expr(value=ast.Name(id="print")):
            return False, PRINT + "print() prints an empty line, this does nothing"
        case ast.Expr(value=ast.Tuple(elts=[ast.Call(func=ast.Name(id="print"))])):
            return False, PRINT + "print(..., end=' ') stays in its line"
        case ast.Expr(value=ast.Tuple(elts=[ast.Call(func=ast.Name(id="print")), *others])) if not any(
            isinstance(each, ast.Call) and isinstance(each.func, ast.Name) for each in others
        ):
            return False, PRINT + "only what stands in its parentheses is printed"
        case ast.Expr(value=value) if _goes_on_after_print(value):
            return True, PRINT + "all that is printed belongs in its parentheses"
        case ast.Expr(value=ast.Compare(left=ast.Call(func=ast.Name(id="exec")), ops=[ast.In()])):
            return True, "exec is a function in Python 3: exec(code, names)"
    return None


def _goes_on_after_print(value: ast.expr) -> bool:
    """Return whether a statement begins with print(...) and uses its value, as in print("%s") % x."""
    match value:
        case ast.BinOp(left=first) | ast.Attribute(value=first) | ast.Subscript(value=first) | ast.Compare(left=first):
            pass
        case ast.Call(func=ast.Attribute(value=first)) | ast.Tuple(elts=[first, *_]):
            pass
        case _:
            return False
    is_print = isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id == "print"
    return (is_print and not isinstance(value, ast.Tuple)) or _goes_on_after_print(first)


def _list(node: ast.AST, bound: set[str]) -> tuple[bool, str] | None:
    """Find what gave a list in Python 2, and how lists were sorted."""
    match node:
        case ast.Subscript(value=ast.Call(func=ast.Name(id=name))) if name in _LISTS - bound:
            return True, f"{name}() gives no list in Python 3: list({name}(...))"
        case ast.Call(func=ast.Name(id="len"), args=[ast.Call(func=ast.Name(id=name))]) if name in _LISTS - bound:
            return True, f"{name}() gives no list in Python 3: list({name}(...))"
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Attribute(attr=name), args=[]), attr="sort")) if (
            name in {"keys", "values", "items"}
        ):
            return True, f"{name}() gives no list in Python 3: sorted(...)"
        case ast.Call(func=ast.Name(id="sorted") | ast.Attribute(attr="sort"), keywords=keywords) if any(
            each.arg == "cmp" for each in keywords
        ):
            return True, "lists are not sorted by cmp in Python 3: key=functools.cmp_to_key(...)"
    return None


def _text(node: ast.AST) -> tuple[bool, str] | None:
    """Find texts that are used as bytes."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="decode")):
            return True, "text has no decode() in Python 3: it is Unicode already"
        case ast.Call(func=ast.Attribute(attr="encode"), args=[ast.Constant(value=str(codec)), *_]) if (
            codec in _NO_TEXT
        ):
            return True, f"text has no encode({codec!r}) in Python 3: use codecs.encode"
    return None


def _bound_names(tree: ast.AST) -> set[str]:
    """Return the names that the script itself defines, anywhere."""
    bound = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.alias(name=name, asname=asname):
                bound.add(asname or name.partition(".")[0])
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                bound.add(name)
    return bound
