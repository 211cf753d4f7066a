"""Processes that a test starts: what they print, how they end, and that none outlives its test."""

import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).resolve().parents[2]
POLL_S = 0.05  # how often a state without an event of its own is looked at
DEATH_S = 10.0  # SIGKILL to the end of a process

T = TypeVar("T")


def eventually(probe: Callable[[], T], deadline_s: float, what: str) -> T:
    """Ask `probe` until its answer is true, and return that answer; AssertionError after `deadline_s`.

    what: the state that is waited for, as the failure's text names it.
    """
    end = time.monotonic() + deadline_s
    while not (answer := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what} (last answer: {answer!r})")
        time.sleep(POLL_S)
    return answer


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would configure a zspiderd, plus `extra`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ZSPIDER_", "NOTIFY_", "PYTEST_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(extra or {})}


def read_until(fd: int, text: str, deadline_s: float = 20.0) -> str:
    """What a terminal shows up to `text`; AssertionError when that does not come."""
    end = time.monotonic() + deadline_s
    said = ""
    while text not in said:
        ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no {text!r} within {deadline_s} s: {said}"
        said += os.read(fd, 65536).decode("utf-8", "replace")
    return said


class Process:
    """A running program whose output is kept, line by line, standard error among standard output.

    It has a process group of its own; `close` kills it and every process it started.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "",
    ) -> None:
        self.name = name or Path(argv[0]).name
        self.lines: list[str] = []
        self._printed = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(env),
            cwd=cwd,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, name=f"read-{self.name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._printed:
                self.lines.append(line.rstrip("\n"))
                self._printed.notify_all()
        with self._printed:
            self._ended = True
            self._printed.notify_all()

    @property
    def returncode(self) -> int | None:
        """None while it runs; -9 and the like when a signal ended it."""
        return self._process.poll()

    @property
    def output(self) -> str:
        with self._printed:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, deadline_s: float = 20.0) -> re.Match[str]:
        """Return the first match of `pattern` in a printed line, past or to come; AssertionError if none comes."""
        end = time.monotonic() + deadline_s
        seen = 0
        with self._printed:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.lines)
                if self._ended or not self._printed.wait(max(0.0, end - time.monotonic())):
                    break
        why = f"it ended with {self._process.wait(DEATH_S)}" if self._ended else f"not within {deadline_s} s"
        raise AssertionError(f"{self.name} did not print {pattern!r}: {why}. It printed:\n{self.tail()}")

    def tail(self, lines: int = 60) -> str:
        with self._printed:
            return "\n".join(self.lines[-lines:])

    def wait(self, deadline_s: float = 20.0) -> int:
        """The exit code, when the program has ended and all it printed was read; AssertionError if it runs on."""
        try:
            code = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {deadline_s} s:\n{self.tail()}") from None
        self._reader.join(DEATH_S)
        return code

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, deadline_s: float = 40.0) -> int:
        """SIGTERM, then the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def kill(self) -> None:
        """SIGKILL to this process alone; what it started must notice by itself."""
        self._process.kill()
        self._process.wait(DEATH_S)

    def family(self) -> list[psutil.Process]:
        """This process and all that it started, and those started, which still run."""
        try:
            head = psutil.Process(self.pid)
            return [head, *head.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """Kill this process, its children and its process group. Safe to repeat."""
        for member in self.family():
            try:
                member.kill()
            except psutil.NoSuchProcess:
                pass  # it ended by itself a moment ago
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # nobody is left in the group
        self._process.wait(DEATH_S)
        self._reader.join(DEATH_S)
        if not self._reader.is_alive():
            assert self._process.stdout is not None
            self._process.stdout.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Ran:
    """A command that has ended: exit code, standard output and standard error apart."""

    def __init__(self, argv: Sequence[str], code: int, out: str, err: str) -> None:
        self.argv, self.code, self.out, self.err = argv, code, out, err

    def __repr__(self) -> str:
        return f"{' '.join(self.argv)}\nexit code {self.code}\n--- out\n{self.out}--- err\n{self.err}"

    @property
    def text(self) -> str:
        return self.out + self.err


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    deadline_s: float = 60.0,
) -> Ran:
    """Run a command to its end; AssertionError when that takes longer than `deadline_s`."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment(env),
            cwd=cwd,
            timeout=deadline_s,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise AssertionError(
            f"{' '.join(words)} still runs after {deadline_s} s: {exc.output!r} {exc.stderr!r}"
        ) from exc
    return Ran(words, done.returncode, done.stdout, done.stderr)
