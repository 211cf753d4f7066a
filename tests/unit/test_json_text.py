"""What counts as JSON, and what becomes of a stored text that does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zspider.json_text import finite, json_fault, repaired

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
NO_JSON = [
    b"", b" ", b"not json {", b"\x00\x01", b"nan", b"NaN", b"[NaN]", b'{"a": Infinity}', b"-Infinity", b'"\x1b[31m"',
    b'"\n"',
    b'"\xff"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\\ud800"', b'"\\x41"', b"'a'", b"01", b"1.",
    b".5",
    b"-", b"[-]", b"+1", b"0x1", b"1e", b"[1,]", b'{"a": 1,}', b"{1: 2}", b'{"a"}', b"1 2", b'{"a": 1} x', b"tru",
    b"True",
    b"\xef\xbb\xbf1", b"\x0c1", b'{"\x01": 1}', b'"a', b"[" * 100_000, b'{"a":' * 100_000,
]  # fmt: skip


@given(JSON, st.booleans())
def test_what_python_writes_without_nan_is_json(value, is_ascii):
    try:
        text = json.dumps(value, ensure_ascii=is_ascii).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return
    assert json_fault(text) == "" or b"\\ud" in text


@pytest.mark.parametrize("text", [b"1e999", b"1" * 5000, b'"\x7f"', b"-0.0e+5", b" [1 ,2]\n\t ", b'{"a": 1, "a": 2}'])
def test_json_that_some_readers_cannot_hold_is_json(text):
    assert json_fault(text) == ""


@pytest.mark.parametrize("text", NO_JSON, ids=lambda text: repr(text[:12]))
def test_no_json_is_told_in_one_line_and_can_be_made_json(text):
    fault = json_fault(text)
    assert len(fault.splitlines()) == 1
    assert json_fault(repaired(text.decode("utf-8", "replace")).encode()) == ""


@given(st.binary(max_size=30))
def test_only_what_python_reads_is_json(text):
    if not json_fault(text):
        json.loads(text.decode(), parse_constant=lambda name: pytest.fail(name))


@given(st.text(st.characters(), max_size=30))
def test_any_text_can_be_made_json(text):
    assert json_fault(repaired(text).encode()) == ""


def test_numbers_that_json_does_not_have_become_null():
    assert (
        repaired('{"a": NaN, "b": [Infinity, -Infinity, 1.5], "c": "NaN"}')
        == '{"a": null, "b": [null, null, 1.5], "c": "NaN"}'
    )
    assert finite({"a": (float("nan"), 1)}) == {"a": [None, 1]}


def test_a_value_as_deep_as_any_that_travels_is_made_finite():
    value = float("nan")
    for level in range(512):  # msgpack's own limit
        value = [value] if level % 2 else {"a": value}
    inner = finite(value)
    while inner is not None:
        inner = inner[0] if isinstance(inner, list) else inner["a"]
