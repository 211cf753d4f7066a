"""Python 2's habits are found, all of them, with what to write instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.script.check.syntax import FINDINGS_MAX, parse


def told(text):
    return [(one.line, one.text) for one in parse(text)[1]]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("print 'é', x", "print is a function in Python 3: print(...)"),
        ("if x: print y; z = 1", "print is a function in Python 3: print(...)"),
        ("exec 'y = 1'", "exec is a function in Python 3: exec(...)"),
        ("raise IOError, 'oh'", "Python 3 writes `raise Error(value)`"),
        ("x = 0777", "Python 3 writes octal numbers as 0o17"),
        ("x = 10L", "Python 3 has no 10L: write 10"),
        ("x = a <> b", "Python 3 writes `!=` instead of `<>`"),
        ("x = `y`", "Python 3 has no backticks: write repr(...)"),
        ("x = ur'\\d'", "Python 3 has no ur'...': write r'...'"),
        ("x = lambda (a, b): a", "Python 3 has no tuples as parameters"),
    ],
)
def test_a_line_of_python_2_is_told_and_what_follows_is_read(line, advice):
    text = f"first = 1\n{line}\nlast = 2\n"
    tree, findings = parse(text)
    assert [(one.line, one.stops, one.text) for one in findings] == [(2, True, advice)]
    assert tree is not None
    assert tree.body[-1].lineno == 3


def test_all_places_are_found_in_one_go():
    text = (
        "try:\n    print 'a %s' % (\n        x)\nexcept (A, B), e:\n    raise A, 'x'\n"
        "x = 0777 + 10L\ndef f():\n    print x\n"
    )
    assert sorted(line for line, _ in told(text)) == [2, 4, 5, 6, 6, 8]


NAMED = "Python 3 writes `except Error as name:`"
LISTED = "several exceptions stand in parentheses, `except (A, B):`; only Python 3.14 and later read it without"


@pytest.mark.parametrize(
    ("clause", "advice"),
    [
        ("except ValueError, e:", NAMED),
        ("except (ValueError, KeyError), e:", NAMED),
        ("except (ValueError), e:", NAMED),
        ("except socket.error, e:", NAMED),
        ("except errors[0, 1], e:", NAMED),
        ("except f({'é': ')'}), e :  # as it was", NAMED),
        ("except (ValueError,  # one\n        KeyError), e:", NAMED),
        ("except ValueError, \\\n        e:", NAMED),
        ("except ValueError, KeyError:", LISTED),
        ("except ValueError, KeyError, e:", LISTED),
        ("except (ValueError), (KeyError):", LISTED),
        ("except ValueError, socket.error:", LISTED),
        ("except* ValueError, KeyError:", LISTED),
        ("except ValueError, KeyError as e:", LISTED),
    ],
)
@pytest.mark.parametrize("before", ["pass", "x = 0777"])
def test_exceptions_behind_a_comma_are_told_alike_by_every_python(clause, advice, before):
    tree, findings = parse(f"{before}\ntry:\n    pass\n{clause}\n    last = 2\n")
    assert [(one.line, one.stops, one.text) for one in findings if one.line > 1] == [(4, True, advice)]
    (handler,) = tree.body[1].handlers
    assert handler.name == ("e" if advice == NAMED or " as " in clause else None)
    assert handler.body[0].lineno == 5 + clause.count("\n")


@pytest.mark.parametrize(
    "clause",
    ["except:", "except A:", "except (A, B):", "except (A, B) as e:", "except f(a, b):", "except* (A, B) as e:"],
)
def test_exceptions_that_every_python_3_reads_alike_are_no_problem(clause):
    assert told(f"try:\n    pass\n{clause}\n    x = 'except A, e:'  # except A, e:\n") == []


def test_what_is_behind_the_first_unreadable_place_is_told_by_every_python():
    text = "try: x\nexcept A, e: y\nz = 0777\ntry: x\nexcept A, e: y\nz = 1 +\n"
    assert sorted(told(text))[:3] == [(2, NAMED), (3, "Python 3 writes octal numbers as 0o17"), (5, NAMED)]


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("x = '<>'\ny = (1, '<>'\n", (2, "SyntaxError: '(' was never closed")),
        ("return 5\n", (1, "SyntaxError: 'return' outside function")),
        ("x = 1\x00\n", (1, "SyntaxError: source code string cannot contain null bytes")),
        ("def f(a, (b, c)): pass\n", (1, "SyntaxError: Function parameters cannot be parenthesized")),
        ("x = `y` + (\n", (1, "SyntaxError: '(' was never closed")),
    ],
)
def test_what_is_wrong_in_any_python_is_told_as_python_does(text, finding):
    assert told(text)[-1] == finding


def test_tabs_among_spaces_are_told_once_and_the_rest_is_read():
    tree, findings = parse("def f():\n\tx = 1\n        print x\n")
    assert tree is not None
    assert sorted(one.line for one in findings) == [3, 3]


def test_a_good_script_has_nothing_told():
    assert told('print("x")\nx = "<> `y` 10L"  # print x\n') == []


def test_a_script_with_endless_mistakes_is_told_enough():
    assert len(told("print x\n" * 1000)) == FINDINGS_MAX


@given(st.text(st.sampled_from("print exec x,:()`<>0L'\"\n\t \\=raise"), max_size=80))
def test_no_text_is_too_odd_to_be_read(text):
    tree, findings = parse(text)
    assert (tree is None) <= bool(findings)
    assert all(1 <= one.line <= text.count("\n") + 2 for one in findings)
