"""`zspiderd run` when something is short: it says so in one line, ends with a code, and the next run has everything."""

import ctypes
import json
import os
from pathlib import Path

import pytest
from tests.conftest import lacking
from tests.fault.shortage.campaign import ASSERTED
from tests.support import shortage
from tests.support.cluster import ZSPIDERD, zspiderd
from tests.support.process import Process
from tests.support.shortage import ERRORS, Place, Victim, failing_at_once, preloaded, recorded
from zspider.errors import ExitCode

PAGES = 30
SCRIPT = f"""\
# rate: 100000
# burst: 100000
from zspider import BaseHandler

class Handler(BaseHandler):
    def on_start(self):
        for number in range({PAGES}):
            self.crawl("data:,%d" % number, callback=self.page)

    def page(self, response):
        return {{"url": response.url}}
"""
OURS = ("zspider/roles/", "zspider/broker/", "zspider/cli/run", "zspider/cli/display", "zspider/cli/log_stream")
PLACES = 6  # of those that are found, spread over the run


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "pages.py"
    path.write_text(SCRIPT)
    return path


def run(script: Path, env: dict[str, str] | None = None) -> Process:
    """A run of one processor, to its end."""
    process = Process([*ZSPIDERD, "run", script, "--processors", "1"], env=env, name="run")
    process.wait(90.0)
    return process


def check_complete(script: Path) -> None:
    """Another run has nothing in its way, and every page has its result once."""
    last = run(script)
    assert last.returncode == ExitCode.OK, last.output
    exported = zspiderd("results", script.stem, "--data-dir", script.with_name(f"{script.name}.zspider"))
    urls = [json.loads(line)["url"] for line in exported.out.splitlines()]
    assert sorted(urls) == sorted(f"data:,{number}" for number in range(PAGES))
    last.close()


def places(script: Path, control: Path) -> list[tuple[Place, int]]:
    """Where a run of its own calls the system, each call by each module once, with an error."""
    process = run(script, preloaded(control) | recorded())
    assert process.returncode == ExitCode.OK, process.output
    chosen: dict[tuple[str, str], tuple[Place, int]] = {}
    for place in Victim(control, process.pid).counts():
        is_asserted = place.caller.startswith("libzmq") and place.call in {*ASSERTED, "eventfd"}
        is_ours = place.ours.startswith(OURS) and "<module>" not in place.ours
        if place.call != "arena" and is_ours and not is_asserted:
            errors = ERRORS[place.call]
            chosen.setdefault((place.call, place.ours.split(":")[0]), (place, errors[len(chosen) % len(errors)]))
    process.close()
    return list(chosen.values())


@pytest.mark.timeout(900)
def test_a_call_of_its_own_that_fails_is_told_in_a_line_and_the_next_run_has_everything(
    script: Path, tmp_path: Path
) -> None:
    if shortage.preloadable() is None:
        lacking("gcc")
    if not hasattr(ctypes.pythonapi, "_Py_DumpTraceback"):
        pytest.skip("this Python, as 3.13 and later, does not export what tells which line of ours has made a call")
    control = tmp_path / "control"
    found = places(script, control)
    assert len(found) >= PLACES, found
    wrong, passed = [], 0
    for number, (place, error) in enumerate(found[:: len(found) // PLACES][:PLACES]):
        copy = tmp_path / f"pages{number}.py"
        copy.write_text(SCRIPT)
        process = run(copy, preloaded(control) | failing_at_once(place, error, 3))
        passed += Victim(control, process.pid).failed > 0
        row = f"{place.call} {os.strerror(error)} {place.where}: {process.returncode} {process.tail(1)}"
        print(row)
        if process.returncode not in set(ExitCode) or "Traceback" in process.output:
            wrong.append(f"{row}\n{process.output}")
        process.close()
        check_complete(copy)
    assert not wrong, "\n\n".join(wrong)
    assert passed >= PLACES // 2


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-", "2> >(exit)"])
def test_progress_that_cannot_be_shown_ends_no_run(script: Path, where: str) -> None:
    done = Process(["bash", "-c", f'"$@" {where}', "bash", *ZSPIDERD, "run", script, "--processors", "1"])
    assert done.wait(90.0) == ExitCode.OK, done.output
    assert f"{PAGES} results" in done.output
    done.close()


def test_a_summary_that_cannot_be_written_is_told_and_everything_is_stored(script: Path) -> None:
    done = Process(["bash", "-c", '"$@" >/dev/full', "bash", *ZSPIDERD, "run", script, "--processors", "1"])
    assert done.wait(90.0) == ExitCode.SHORTAGE, done.output
    assert "zspiderd: cannot go on: " in done.output
    assert "No space left on device" in done.output
    assert "Traceback" not in done.output
    done.close()
    check_complete(script)
