"""The processes that run scripts: started, listened to, killed, reaped and started again."""

import math
import os
import sys
import time
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec
import structlog

from zspider.broker.messages import AnyMessage, Stop
from zspider.broker.pipe import Pipe
from zspider.errors import ProtocolError, reason_of
from zspider.roles.slave.processors.descendants import ProcessMark
from zspider.roles.slave.processors.options import options_of
from zspider.roles.slave.processors.process import ProcessorProcess
from zspider.settings import SlaveFile

log = structlog.get_logger(__name__)
RESTART_S = (0.5, 30.0)  # pause after one that died before it was up: first and longest, doubling
SHORTAGE_S = (0.5, 4.0)  # the same after one that could not be started: to try again costs little
SWEEP_S = 1.0  # how often what a dead process left is looked for again, when that was not possible
BROKEN = 3  # so many deaths in a row before any was up: processors do not work on this machine
STOP_S = 1.0  # from Stop, or from the end of its pipe, to SIGKILL: it may write why it ends
READ_BYTES = 64 * 1024


class Death(NamedTuple):
    """How a process ended. What it had sent has been received."""

    how: str  # "signal 11 (SIGSEGV)", "exit code 3"
    peak_bytes: int
    output_tail: str
    was_retired: bool  # it had said that it ends


class ProcessorPool:
    """Keeps a number of processes running. Each is known by its index; a new one under an old index is a new one."""

    def __init__(self, settings: SlaveFile) -> None:
        """Nothing is started before the first `step`."""
        self.count = settings.slave.processors or os.cpu_count() or 1
        options = msgspec.json.encode(options_of(settings)).decode()
        self._command = [sys.executable, "-m", "zspider.roles.processor", "--options", options]
        self._processes: dict[int, ProcessorProcess] = {}
        self._start_at = dict.fromkeys(range(self.count), 0.0)  # those that do not run
        self._failures = dict.fromkeys(range(self.count), 0)  # deaths in a row before it was up
        self._by_pipe: dict[Pipe, int] = {}
        self._unswept: list[ProcessMark] = []  # of dead processes that may have left something behind
        self._sweep_at = 0.0
        self.is_stopping = False

    @property
    def fds(self) -> set[int]:
        """Descriptors to wait for."""
        return {fd for process in self._processes.values() if not process.has_ended for fd in process.fds}

    @property
    def pipes(self) -> Collection[Pipe]:
        """Pipes to wait for."""
        return [pipe for pipe in self._by_pipe if not pipe.is_closed]

    @property
    def running(self) -> int:
        """How many processes there are."""
        return len(self._processes)

    @property
    def is_broken(self) -> bool:
        """Whether none is up, and those that were started died at once: they do not work on this machine."""
        return min(self._failures.values()) >= BROKEN and not any(one.is_up for one in self._processes.values())

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until `step` has something to do."""
        dues = [] if self.is_stopping else list(self._start_at.values())
        dues += [process.kill_at for process in self._processes.values() if process.kill_at < math.inf]
        dues += [self._sweep_at] if self._unswept else []
        return max(0.0, min(dues) - now) if dues else None

    def step(self, now: float) -> None:
        """Start what is due, and kill what should have ended."""
        for process in self._processes.values():
            if process.kill_at <= now:
                process.child.kill()
                process.kill_at = math.inf
        if self._unswept and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._sweep()
        if self.is_stopping:
            return
        for index in [index for index, at in self._start_at.items() if at <= now]:
            self._spawn(index, now)

    def read(self, ready_fds: AbstractSet[int], now: float) -> None:
        """Take in what processes have printed, and which have ended."""
        for index, process in self._processes.items():
            if process.child.out in ready_fds:
                self._read_output(index, process, now)
            if process.child.pidfd in ready_fds:
                process.reap()

    def index_of(self, pipe: Pipe) -> int:
        """Return the index of the process with this pipe."""
        return self._by_pipe[pipe]

    def flush(self) -> None:
        """Write what was sent, as far as there is room for it now: one system call per process, not per page."""
        for process in self._processes.values():
            if process.pipe.has_unsent and not process.has_ended:
                process.pipe.flush()

    def receive(self, index: int, now: float) -> AnyMessage | None:
        """Return the next message of a process; None: there is none now. One that has closed its pipe has to end."""
        process = self._processes[index]
        try:
            message = process.pipe.receive()
        except ProtocolError as exc:  # a script has damaged its own process
            log.warning("processor_talks_nonsense", processor=index, reason=str(exc))
            process.child.kill()
            return None
        if message is None and process.pipe.is_closed and not process.has_ended:
            process.kill_at = now + STOP_S
        return message

    def running_pages(self) -> Iterator[tuple[int, int]]:
        """Return what each process runs, or ran when it died: (index, page), page 0 for none."""
        return ((index, process.running.page) for index, process in self._processes.items())

    def came_up(self, index: int) -> None:
        """Note that a process has said that it is there."""
        self._processes[index].is_up = True
        self._failures[index] = 0

    def send(self, index: int, message: AnyMessage) -> bool:
        """Send to a process with the next `flush`; False: it is gone. Raises ProtocolError for what cannot travel."""
        process = self._processes.get(index)
        if process is None or process.has_ended or process.pipe.is_closed:
            return False
        process.pipe.queue(message)
        return True

    def scripts_of(self, index: int) -> set[bytes]:
        """Return the scripts whose text this process has. The caller adds to it."""
        return self._processes[index].scripts

    def loaded_by(self, index: int) -> set[bytes]:
        """Return the scripts this process has run. The caller adds to it."""
        return self._processes[index].loaded

    def retire(self, index: int, now: float) -> None:
        """See to it that a process ends which has said that it does."""
        process = self._processes[index]
        process.is_retired = True
        process.kill_at = now + STOP_S

    def kill(self, index: int) -> None:
        """End a process now; its death is reported like any other."""
        self._processes[index].child.kill()

    @property
    def ended(self) -> list[int]:
        """Processes that have ended: `receive` what they left, then `reap` each."""
        return [index for index, process in self._processes.items() if process.has_ended]

    def reap(self, index: int, now: float) -> Death:
        """Close what was connected to a dead process; returns how it ended. Another is started in its place."""
        process = self._processes.pop(index)
        self._read_output(index, process, now)
        del self._by_pipe[process.pipe]
        process.close()
        if not process.is_swept:
            self._leave_unswept(process.mark)
        self._start_at[index] = now if process.is_up else now + self._pause_s(index, RESTART_S)
        return Death(process.how(), process.child.peak_bytes, process.output.tail(), process.is_retired)

    def stop(self) -> None:
        """Tell all to end when they are through with what they run; none is started any more."""
        self.is_stopping = True
        for process in self._processes.values():
            process.pipe.queue(Stop())
            if not process.has_ended and not process.pipe.flush():
                process.child.kill()  # it does not listen any more

    def close(self) -> None:
        """End all processes, at last by force. Safe to repeat."""
        self.stop()
        deadline = time.monotonic() + STOP_S
        for process in self._processes.values():
            process.end(max(0.0, deadline - time.monotonic()))
            process.close()
            if not process.is_swept:
                self._leave_unswept(process.mark)
        self._processes.clear()
        self._by_pipe.clear()
        self._sweep()  # with the descriptors that are free now

    def _spawn(self, index: int, now: float) -> None:
        """Start a process; one that cannot be started counts as one that died before it was up."""
        command = [*self._command, "--index", str(index), "--parent", str(os.getpid())]
        try:
            process = ProcessorProcess(command)
        except (OSError, MemoryError) as exc:
            pause_s = self._pause_s(index, SHORTAGE_S)
            self._start_at[index] = now + pause_s
            log.error("processor_not_started", processor=index, reason=reason_of(exc), again_in_s=pause_s)
            return
        del self._start_at[index]
        self._processes[index] = process
        self._by_pipe[process.pipe] = index

    def _pause_s(self, index: int, limits: tuple[float, float]) -> float:
        """Count one more that was never up; returns how long to wait with the next."""
        self._failures[index] += 1
        return float(min(limits[1], limits[0] * 2 ** min(self._failures[index] - 1, 10)))

    def _leave_unswept(self, mark: ProcessMark) -> None:
        log.warning("leftovers_not_looked_for", advice="no descriptor or memory is left; tried again until there is")
        self._unswept.append(mark)

    def _sweep(self) -> None:
        """End what dead processes have left, if it was not possible at their death."""
        self._unswept = [mark for mark in self._unswept if not mark.kill_all()]

    def _read_output(self, index: int, process: ProcessorProcess, now: float) -> None:
        data = None if process.output_closed else process.child.read_output(READ_BYTES)
        if not data:
            process.output_closed = process.output_closed or data is not None
            return
        said = process.output.feed(data, now)
        if said.left_out:
            log.warning("processor_output_left_out", processor=index, lines=said.left_out)
        for line in said.lines:
            log.warning("processor_output", processor=index, text=line)
