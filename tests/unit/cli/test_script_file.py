"""Scripts on the operator's machine: names, rates, and what does not compile."""

import pytest
from zspider.errors import ConfigError, ScriptError
from zspider.script.check.source import read_script


@pytest.fixture
def script(tmp_path):
    def script(text, name="books.py", **more):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_script(path, **more)

    return script


def test_a_project_is_named_after_its_file_unless_it_is_told(script):
    assert script("x = 1").name == "books"
    assert script("x = 1", name="other").name == "other"


@pytest.mark.parametrize(
    ("text", "rate", "burst"),
    [
        ("# rate: 5\n# burst: 10\n", 5, 10),
        ("    #rate = 0.5 per second\n", 0.5, None),
        ("# Rate 100\nx = '# rate: 3'\n", 100, None),
        ("# the rate is 5\n", None, None),
        ("# rated 5\n", None, None),
        ("x = 1  # rate: 5\n", None, None),
        ("# rate:\n5\n", None, None),
    ],
)
def test_comment_lines_name_the_rate_and_the_burst(script, text, rate, burst):
    found = script(text)
    assert (found.rate, found.burst) == (rate, burst)


@pytest.mark.parametrize(
    ("flags", "comments", "asked"),
    [
        ((None, None), "", (None, None)),
        ((50.0, None), "", (50, 50)),
        ((2.0, None), "", (2, 3)),
        ((2.0, 1.0), "# rate: 9\n# burst: 9\n", (2, 1)),
        ((None, None), "# rate: 9\n", (9, 9)),
        ((None, 7.0), "", (None, 7)),
        ((100.0, None), "# rate: 9\n# burst: 20\n", (100, 20)),
    ],
)
def test_flags_come_before_comments_and_a_rate_alone_brings_its_burst(script, flags, comments, asked):
    assert script(f"{comments}x = 1\n").rates(*flags) == asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef f(:\n", ":2: SyntaxError: invalid syntax"),
        ("print 'python 2'\n", ":1: SyntaxError: Missing parentheses"),
        ("if x:\ny = 1\n", ":2: IndentationError: "),
        ("x = 1\0\n", ":1: SyntaxError: "),
        (b"x = '\xe9'\n", ":1: SyntaxError: "),
        ("# coding: no-such\n", ":1: SyntaxError: "),
    ],
)
def test_what_does_not_compile_is_named_with_file_and_line(script, text, message):
    with pytest.raises(ScriptError) as caught:
        script(text)
    assert f"books.py{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_is_read_in_the_encoding_that_it_names(script):
    assert "é" in script("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1")).text
    assert script(b"\xef\xbb\xbfx = 1\n").text == "x = 1\n"


def test_a_script_that_is_not_there_is_the_operators_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.py: cannot be read: No such file"):
        read_script(tmp_path / "none.py")
