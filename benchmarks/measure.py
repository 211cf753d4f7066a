"""What processes cost, read from /proc: CPU over time and peak memory of a whole family, process by process."""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAUSE_S = 0.05


class ProcessCost:
    """One process as it was seen: samples of (Unix seconds, CPU seconds so far), and its peak memory."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.name = ""
        self.samples: list[tuple[float, float]] = []
        self.rss_mb = 0.0

    def cpu_until(self, moment: float) -> float:
        """CPU seconds used before `moment`, interpolated between samples; 0 before it was first seen."""
        at = bisect_right(self.samples, (moment, float("inf")))
        if at == 0:
            return 0.0
        then, used = self.samples[at - 1]
        if at == len(self.samples):
            return used
        later, more = self.samples[at]
        return used + (more - used) * (moment - then) / (later - then)


class Meter:
    """Samples processes and everything they start, from a thread, until `stop`.

    name_of: a process's role from its command line. It costs about 1 % of a core, the same for every subject.
    """

    def __init__(self, roots: Sequence[int], name_of: Callable[[list[str]], str]) -> None:
        self._roots = roots
        self._name_of = name_of
        self._costs: dict[int, ProcessCost] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> list[ProcessCost]:
        """Take the last sample and return what was seen."""
        self._stopping.set()
        self._thread.join()
        return list(self._costs.values())

    def _run(self) -> None:
        while True:
            is_last = self._stopping.is_set()
            for pid in self._family():
                self._sample(pid)
            if is_last:
                return
            self._stopping.wait(PAUSE_S)

    def _family(self) -> list[int]:
        """The roots and their descendants, found through every thread's list of children."""
        family, new = [], list(self._roots)
        while new:
            pid = new.pop()
            family.append(pid)
            try:
                for task in Path(f"/proc/{pid}/task").glob("*/children"):
                    new += [int(child) for child in task.read_text().split()]
            except OSError:
                pass  # the thread or the process has ended
        return family

    def _sample(self, pid: int) -> None:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            return  # it has ended
        cost = self._costs.setdefault(pid, ProcessCost(pid))
        if words[0]:  # nothing for a zombie. The last name counts: between fork and exec it is the parent's
            cost.name = self._name_of(words)
        fields = stat.rpartition(")")[2].split()
        cost.samples.append((time.time(), (int(fields[11]) + int(fields[12])) * TICK_S))
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                cost.rss_mb = max(cost.rss_mb, int(line.split()[1]) / 1024)
