"""What pages and scripts wrote, as log lines and tables show it."""

import io
import json
import logging
import unicodedata

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from zspider.cli import logs
from zspider.cli.output import cell, print_json, span
from zspider.cli.text import TEXT_CHARS_MAX, visible
from zspider.settings import LogSettings

HOSTILE = "a\x1b[31mred\r\nINFO forged\x9b0m \u202etxt.exe\u2028\ud800"


@pytest.fixture
def log_to():
    def start(form="auto", level="info"):
        out = io.StringIO()
        logs.set_up(LogSettings(format=form, level=level), out)
        return structlog.get_logger("test"), out

    return start


@given(st.text(st.characters()))
def test_visible_text_has_no_character_that_acts(text):
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    shown.encode()
    if text.isascii() and text.isprintable():
        assert shown == text


def test_long_text_is_cut_and_says_how_long_it_was():
    assert visible("x" * 5000, 10) == "xxxxxxxxxx... (5000 characters)"
    assert visible("x" * 10, 10) == "x" * 10


def test_a_log_line_stays_one_line_whatever_a_page_says(log_to):
    log, out = log_to()
    log.warning("page_failed", url=HOSTILE, pages=3)
    (line,) = out.getvalue().splitlines()
    assert " warning page_failed " in line
    assert line.endswith("pages=3")
    assert "\\x1b[31mred\\r\\nINFO forged\\x9b0m" in line.replace("\\\\", "\\")
    assert not any(unicodedata.category(c) == "Cc" for c in line)


def test_json_lines_can_be_read_back_and_long_values_are_cut(log_to):
    log, out = log_to("json")
    log.info("page_failed", url=HOSTILE, body="x" * 10_000)
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert event["url"] == HOSTILE
    assert event["event"] == "page_failed"
    assert event["level"] == "info"
    assert len(event["body"]) < TEXT_CHARS_MAX + 100


def test_less_than_the_level_is_not_written(log_to):
    log, out = log_to(level="warning")
    log.info("quiet")
    log.error("loud")
    assert [line.split()[2] for line in out.getvalue().splitlines()] == ["loud"]


def test_a_traceback_keeps_its_lines_and_loses_its_controls(log_to):
    log, out = log_to()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("script_failed")
    assert "\nTraceback (most recent call last):\n" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_what_libraries_log_comes_out_the_same_way(log_to):
    _, out = log_to()
    logging.getLogger("some.package").warning("gone: %s", "\x1b[2J")
    assert "library" in out.getvalue()
    assert "name=some.package" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_values_with_spaces_stand_in_quotes(log_to):
    log, out = log_to()
    log.info("said", text='two "words"', empty="", number=1.5)
    assert out.getvalue().strip().endswith('text="two \\"words\\"" empty="" number=1.5')


def test_a_cell_is_short_and_on_one_line():
    assert cell(None) == ""
    assert cell(True) == "yes"
    assert cell(2.0) == "2"
    assert cell(b"\x01") == "01"
    assert cell(["fetcher", "processor"]) == "fetcher,processor"
    assert cell("a\nb") == "a\\nb"


def test_json_on_a_terminal_cannot_act_either(capsys):
    print_json({"url": HOSTILE})
    text = capsys.readouterr().out
    assert json.loads(text) == {"url": HOSTILE}
    assert not any(unicodedata.category(c) == "Cc" for c in text.replace("\n", ""))


def test_what_programs_read_is_json_whatever_a_script_saved(capsys):
    print_json({"save": {"price": float("nan"), "top": [float("inf"), 1.5]}, "raw": b"\x01"})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "save": {"price": None, "top": [None, 1.5]},
        "raw": "01",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min"), (100_000, "1 d 3 h")],
)
def test_spans_are_said_as_people_do(seconds, text):
    assert span(seconds) == text
