"""A real processor process at the other end of a real pipe."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
from zspider.broker.codec import decode_outcome
from zspider.broker.messages import (
    AnyMessage,
    LoadFailed,
    Page,
    Processed,
    ProjectScript,
    Script,
    Stop,
    Up,
    WantProject,
)
from zspider.broker.pipe import Pipe
from zspider.delivery import Outcome
from zspider.roles.processor.current_page import CurrentPage

DEADLINE_S = 30.0
_PAGE_FIELDS = ("group", "rate", "burst", "updated_ms", "generation")
ROOT = Path(__file__).parent.parent.parent


class ProcessorAtWork:
    """Sends pages, reads answers; every wait ends loudly after DEADLINE_S."""

    def __init__(self, pipe: Pipe, running: CurrentPage, process: subprocess.Popen[bytes], log: Path) -> None:
        self.pipe = pipe
        self.running = running
        self.process = process
        self._log = log
        self._number = 0

    def send(self, message: AnyMessage) -> None:
        self.pipe.queue(message)
        assert self.pipe.flush(wait=True), f"nobody there for {type(message).__name__}: {self.log}"

    def send_script(self, text: str) -> bytes:
        """Send a script; returns its hash."""
        text = dedent(text)
        digest = sha256(text.encode()).digest()
        self.send(Script(digest, text))
        return digest

    def send_page(self, script: bytes, callback: str = "page", content: bytes = b"", **changes: Any) -> int:
        """Send a page; returns its number. Of `changes`, fetch and task are merged."""
        self._number += 1
        url = "http://site.example/p"
        task = {
            "taskid": "t",
            "project": "demo",
            "url": url,
            "schedule": {},
            "fetch": {},
            "process": {"callback": callback},
        }
        fetch = {"status_code": 200, "url": url, "orig_url": url, "headers": {}, "cookies": {}, "time": 0.1}
        page = Page(
            number=self._number,
            project=changes.get("project", 1),
            project_name=changes.get("name", "demo"),
            project_status="RUNNING",
            script=script,
            taskid=changes.get("taskid", "t"),
            run=3,
            attempt=2,
            proof=b"p" * 16,
            task=task | changes.get("task", {}),
            fetch=fetch | changes.get("fetch", {}),
            content=content,
            **{name: changes[name] for name in _PAGE_FIELDS if name in changes},
        )
        self.send(page)
        return self._number

    def receive(self) -> AnyMessage:
        """The next message."""
        message = self.pipe.receive(DEADLINE_S)
        assert message is not None, f"no answer within {DEADLINE_S} s: {self.log}"
        return message

    def answers(self, number: int) -> tuple[list[Outcome], Outcome]:
        """The parts and the final outcome of a page."""
        parts = []
        while True:
            message = self.receive()
            assert isinstance(message, Processed), message
            assert message.number == number
            outcome = decode_outcome(message.outcome)
            if message.final:
                return parts, outcome
            parts.append(outcome)

    def outcome(self, number: int) -> Outcome:
        """The final outcome of a page that has no parts."""
        parts, final = self.answers(number)
        assert parts == []
        return final

    def wait_running(self, number: int) -> None:
        """Wait until this page is run."""
        deadline = time.monotonic() + DEADLINE_S
        while self.running.page != number:
            assert time.monotonic() < deadline, f"page {number} is not run: {self.log}"
            time.sleep(0.001)

    def failure(self, number: int) -> LoadFailed:
        """The answer to a page whose script cannot be imported here."""
        message = self.receive()
        assert isinstance(message, LoadFailed), message
        assert message.number == number
        return message

    def wants(self) -> str:
        """The project that a script imports now."""
        message = self.receive()
        assert isinstance(message, WantProject), message
        return message.name

    def send_project(self, name: str, text: str | None) -> None:
        """The answer to `wants`; None: there is no such project."""
        if text is None:
            self.send(ProjectScript(name, None))
        else:
            self.send(ProjectScript(name, sha256(text.encode()).digest(), "STOP", text))

    def stop(self) -> int:
        """Say Stop; returns the exit code."""
        self.send(Stop())
        return self.process.wait(DEADLINE_S)

    @property
    def log(self) -> str:
        """What the process wrote outside of runs."""
        return self._log.read_text()


@contextmanager
def processor(**options: Any) -> Iterator[ProcessorAtWork]:
    """Start a processor with these ProcessorOptions that has said that it is there; it is gone afterwards."""
    pipe, theirs = Pipe.pair()
    running, running_fd = CurrentPage.pair()
    arguments = ["--pipe", str(theirs.fileno()), "--running", str(running_fd)]
    arguments += ["--index", "0", "--options", msgspec.json.encode(options).decode()]
    handle, name = tempfile.mkstemp(prefix="zspider-processor-")
    log = Path(name)
    with theirs, os.fdopen(running_fd, "rb"), os.fdopen(handle, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "zspider.roles.processor", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[theirs.fileno(), running_fd],
        )
    try:
        worker = ProcessorAtWork(pipe, running, process, log)
        assert worker.receive() == Up()
        yield worker
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        pipe.close()
        running.close()
        log.unlink()


def track_of(outcome: Outcome) -> dict[str, Any]:
    """The unpacked track of an outcome."""
    assert outcome.track is not None
    return msgspec.msgpack.decode(outcome.track)  # type: ignore[no-any-return]


def wait_until_gone(pid: int) -> None:
    """Wait for a process that is no child of ours to end (a zombie has ended)."""
    deadline = time.monotonic() + DEADLINE_S
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        ready, _, _ = select.select([pidfd], [], [], deadline - time.monotonic())
        assert ready, f"process {pid} is still there after {DEADLINE_S} s"
    finally:
        os.close(pidfd)
