"""How `zspiderd run` is shown: one live line on a terminal, a plain line every few seconds in a pipe.

It goes to standard error; standard output holds the summary alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column

from zspider.cli.log_stream import LogStream
from zspider.cli.output import span
from zspider.cli.text import visible
from zspider.roles.run.progress import Progress, View

LINE_S = 5.0  # between two lines in a pipe


@contextmanager
def shown(stream: TextIO | None) -> Iterator[View]:
    """Return a view that fits this stream. A stream that cannot be written does not end the run."""
    out = cast(TextIO, LogStream(stream))
    if not out.isatty():
        yield Lines(out)
        return
    console = Console(file=out)
    words = TextColumn("{task.description}", table_column=Column(ratio=1, overflow="fold"))  # nothing is cut off
    columns = (SpinnerColumn(), BarColumn(bar_width=16), TaskProgressColumn(), words)
    with Bar(*columns, console=console, transient=False) as bar:
        yield Live(bar)


def line(progress: Progress) -> str:
    """Return the progress of a crawl, in one line."""
    parts = [
        f"{progress.done:,} done",
        f"{progress.waiting:,} waiting",
        f"{progress.failed:,} failed",
        f"{speed(progress.pages_per_s)} pages/s",
    ]
    if progress.waiting and progress.eta_s is not None:
        parts.append(f"ETA {span(progress.eta_s)}")
    if progress.limited_by is not None:
        parts.append(f"limited by rate {progress.limited_by:g}/s (change with --rate)")
    return "  ".join(parts)


def speed(pages_per_s: float) -> str:
    """Return pages per second; slow crawls with a decimal."""
    return f"{pages_per_s:,.0f}" if pages_per_s >= 10 else f"{pages_per_s:.1f}"


class Lines:
    """Plain lines, one every LINE_S seconds, without anything a log file could not hold."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: returns monotonic seconds."""
        self._stream = stream
        self._clock = clock
        self._next = clock()

    def say(self, text: str) -> None:
        """Write a message as a line."""
        self._write(visible(text))

    def update(self, progress: Progress) -> None:
        """Write the progress as a line, if it is time for one."""
        now = self._clock()
        if now >= self._next:
            self._next = now + LINE_S
            self._write(f"{span(progress.elapsed_s):>12}  {line(progress)}")

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


class Live:
    """A progress bar in place, over all tasks known so far."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        self._bar.console.print(visible(text), markup=False, highlight=False)

    def update(self, progress: Progress) -> None:
        """Show the progress in the bar."""
        ended = progress.done + progress.failed
        total = ended + progress.waiting
        self._bar.update(self._task, completed=ended, total=total or None, description=line(progress))
