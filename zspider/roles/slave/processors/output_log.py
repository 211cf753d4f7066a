"""A processor's standard output and error: bounded lines for our log, and the end of them."""

from typing import NamedTuple

LINE_CHARS_MAX = 500
LINES_PER_S = 20
TAIL_BYTES = 4096


class Lines(NamedTuple):
    """The lines that go to the log now."""

    lines: list[str]
    left_out: int  # lines of the seconds before that were too many


class OutputLog:
    """Cuts one process's output into lines. Pure: `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._tail = b""
        self._rest = b""
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def feed(self, data: bytes, now: float) -> Lines:
        """Take in output; returns the complete lines in it, if they are not too many."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > 4 * LINE_CHARS_MAX:  # no end of line in sight
            whole.append(self._rest)
            self._rest = b""
        left_out = 0
        if int(now) != self._second:
            self._second, self._lines = int(now), 0
            left_out, self._left_out = self._left_out, 0
        lines = []
        for line in whole:
            if not line or line.isspace():
                continue
            self._lines += 1
            if self._lines <= LINES_PER_S:
                lines.append(line[: 4 * LINE_CHARS_MAX].decode("utf-8", "replace").rstrip()[:LINE_CHARS_MAX])
            else:  # not looked at: a script may write without end
                self._left_out += 1
        return Lines(lines, left_out)

    def tail(self, chars: int = 400) -> str:
        """Return the end of the output as one line."""
        return " | ".join(self._tail.decode("utf-8", "replace").split("\n")).strip(" |")[-chars:]
