"""A script that meets the memory limit is told so, whatever eats the memory, and whatever Python makes of its end."""

import re
import sys
from textwrap import dedent, indent

import pytest
from tests.support.processors import processor
from zspider.delivery import End

MIB = 64
TIMES = 3
TOLD = r"MemoryError: over 64 MiB \(processor\.memory_bytes\), peak resident memory [\d,]+ MiB"

HEAD = """
import json, re, sys, threading
from lxml import etree
from zspider import BaseHandler

class Handler(BaseHandler):
    def page(self, response):
"""

EATERS = {
    "small lists": """
        rows = []
        while True:
            rows.append([0] * 50)
    """,
    "tuples in a dict": """
        rows = {}
        while True:
            rows[len(rows)] = (len(rows),)
    """,
    "bytes": """
        parts = []
        while True:
            parts.append(bytes(10_000))
    """,
    "one growing bytearray": """
        part = bytearray()
        while True:
            part += b"x" * 65_536
    """,
    "a growing text": """
        text = "ä"
        while True:
            text += text
    """,
    "many texts": """
        texts = []
        while True:
            texts.append(str(len(texts)) * 10)
    """,
    "a set": """
        numbers = set()
        while True:
            numbers.add(len(numbers))
    """,
    "a number": """
        number = 3
        while True:
            number <<= number.bit_length()
    """,
    "objects": """
        class One:
            pass
        ones = []
        while True:
            one = One()
            one.left = one.right = str(len(ones))
            ones.append(one)
    """,
    "a tree of lxml": """
        root = etree.Element("root")
        while True:
            etree.SubElement(root, "child", name="value").text = "text" * 20
    """,
    "a document": """
        text = "<p>" + "<b>x</b>" * 1_000_000
        kept = [etree.HTML(text), etree.HTML(text)]
    """,
    "json": """
        json.loads("[" + "[1.5],{}," * 2_000_000 + "1]")
    """,
    "a regular expression": """
        found = re.findall("(a)(b)?", "a" * 3_000_000)
    """,
    "a deep recursion": """
        sys.setrecursionlimit(10**9)
        def deeper(rows):
            return deeper([rows] * 100)
        deeper([])
    """,
    "threads": """
        stop = threading.Event()
        threading.stack_size(8 << 20)
        for _ in range(1000):
            threading.Thread(target=stop.wait, daemon=True).start()
    """,
    "an error that Python makes of it": """
        rows = []
        try:
            while True:
                rows.append([0] * 50)
        except BaseException:
            raise SystemError("error return without exception set") from None
    """,
    "an error that a library makes of it": """
        rows = []
        try:
            while True:
                rows.append([0] * 50)
        except BaseException:
            raise etree.ParserError("cannot allocate memory") from None
    """,
}


def script(body: str) -> str:
    return HEAD + indent(dedent(body).strip("\n"), " " * 8) + "\n"


# Python 3.13 itself ends by SIGSEGV, or never comes back, when it frees a million frames: the slave sees that.
DEADLY = ("a deep recursion",) if sys.version_info >= (3, 13) else ()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in EATERS if name not in DEADLY])
def test_whatever_eats_the_memory_the_limit_is_named(name: str) -> None:
    reasons = []
    for _ in range(TIMES):
        with processor(process_time_limit_s=60, memory_bytes=MIB << 20) as worker:
            outcome = worker.outcome(worker.send_page(worker.send_script(script(EATERS[name]))))
            reasons.append((outcome.end, outcome.reason))
    assert all(end is End.FAILURE and re.fullmatch(TOLD, reason) for end, reason in reasons), reasons


@pytest.mark.parametrize("error", ["SystemError('odd')", "ValueError('not enough memory cards')", "OSError(12, 'x')"])
def test_an_error_far_from_the_limit_stays_what_it_is(error: str) -> None:
    with processor(memory_bytes=1 << 30) as worker:
        outcome = worker.outcome(worker.send_page(worker.send_script(script(f"raise {error}"))))
        assert outcome.reason.startswith(error.split("(")[0])


def test_the_limit_is_named_when_it_is_met_while_the_script_is_loaded() -> None:
    top = """
    rows = []
    try:
        while True:
            rows.append([0] * 50)
    except BaseException:
        raise SystemError("error return without exception set") from None
    """
    with processor(memory_bytes=MIB << 20) as worker:
        outcome = worker.outcome(worker.send_page(worker.send_script(dedent(top) + script("pass"))))
        assert "over 64 MiB (processor.memory_bytes)" in outcome.reason
