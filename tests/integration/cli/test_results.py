"""Exports of results, read from a database in which not all are what they should be."""

import contextlib
import csv
import io
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from tests.support.cluster import ZSPIDERD, zspiderd
from tests.support.process import environment
from tests.support.storage import Crawl, outcome
from zspider.json_text import json_fault

DAMAGED = [
    b"not json {",
    b"\x00\x01",
    b"",
    b'{"n": NaN, "m": [Infinity]}',
    b'"\\ud800"',
    b"[" * 100_000,
    b'{"n": "\x1b[2J"}',
]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """One good result, and those that an older version could have stored."""
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    with Crawl(address) as crawl:
        for number, text in enumerate([b'{"n": 1}', *DAMAGED]):
            crawl.commit(outcome(crawl.task(f"t{number}"), results=[text]))
    return address


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_stored_results_that_are_no_json_are_exported_and_counted(database: str, tmp_path: Path, form: str) -> None:
    file = tmp_path / f"out.{form}"
    done = zspiderd("results", "shop", "--database", database, "-o", file)
    assert (done.code, done.out) == (0, ""), done
    assert f"{len(DAMAGED)} of {len(DAMAGED) + 1} results are stored as no JSON: " in done.err
    assert "Traceback" not in done.err
    text = file.read_text()
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(rows) == 1 + len(DAMAGED)
        assert "1" in [row["n"] for row in rows]
        return
    lines = text.splitlines() if form == "jsonl" else [json.dumps(one) for one in json.loads(text)]
    assert [json_fault(line.encode()) for line in lines] == [""] * (1 + len(DAMAGED))
    results = [json.loads(line)["result"] for line in lines]
    for expected in ({"n": 1}, {"n": None, "m": [None]}, "not json {"):
        assert expected in results


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_a_terminal_is_not_driven_by_a_result(tmp_path: Path, form: str) -> None:
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    with Crawl(address) as crawl:
        title = json.dumps({"title": "\x1b]0;owned\x07 \x9b2J end"}, ensure_ascii=False).encode()
        crawl.commit(outcome(crawl.task("t\x1b[31m"), results=[title]))
        crawl.commit(outcome(crawl.task("old"), results=[b"\x1b[2J\x07 no json"]))
    leader, follower = pty.openpty()
    command = [*ZSPIDERD, "results", "shop", "--database", address, "--format", form]
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=environment()) as process:
        os.close(follower)
        shown = ""
        with contextlib.suppress(OSError):  # it has ended, and so has its terminal
            while said := os.read(leader, 65536):
                shown += said.decode()
        os.close(leader)
        assert process.wait(20) == 0
    assert "owned" in shown
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}


def test_a_file_holds_what_the_page_said(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'shop.db'}"
    with Crawl(address) as crawl:
        crawl.commit(outcome(crawl.task("t"), results=[b'{"title": "\\u001b[2J\\u0007", "sum": "=1+1"}']))
    done = zspiderd("results", "shop", "--database", address, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.out, newline=""))
    assert row["title"] == "\x1b[2J\x07"  # as `curl` would give it: a file is data
    assert row["sum"] == "'=1+1"
