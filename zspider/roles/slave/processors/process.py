"""One process that runs scripts: started by its slave, and ended with all that its scripts have started."""

import math
import os
import signal
from contextlib import ExitStack

from zspider.broker.pipe import Pipe
from zspider.roles.machine.child_process import ChildProcess
from zspider.roles.processor.current_page import CurrentPage
from zspider.roles.slave.processors.descendants import ProcessMark
from zspider.roles.slave.processors.output_log import OutputLog

# glibc keeps 7 freed pieces of each size at hand, and the tree of a page has hundreds: a seventh of a page's time.
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=500"}


class ProcessorProcess:
    """One processor, and our ends of the pipe and the memory shared with it."""

    def __init__(self, command: list[str]) -> None:
        """Raise OSError or MemoryError when a descriptor, process or memory cannot be had. Nothing stays open."""
        self.mark = ProcessMark()
        with ExitStack() as undo:
            self.pipe, theirs = Pipe.pair()
            undo.callback(self.pipe.close)
            with theirs:
                self.running, running_fd = CurrentPage.pair()
                undo.callback(self.running.close)
                command = [*command, "--pipe", str(theirs.fileno()), "--running", str(running_fd)]
                keep_fds = [theirs.fileno(), running_fd]
                try:
                    environment = {**_ALLOCATOR, **self.mark.environment}
                    self.child = ChildProcess(command, environment=environment, keep_fds=keep_fds)
                finally:
                    os.close(running_fd)
            undo.pop_all()
        self.output = OutputLog()
        self.output_closed = False  # it has closed its output
        self.is_up = False  # it has said something
        self.is_swept = False  # it is dead, and so is all that it had started
        self.scripts: set[bytes] = set()  # it has the text
        self.loaded: set[bytes] = set()  # it has run pages of it
        self.is_retired = False
        self.kill_at = math.inf  # it is to end by itself until then
        self.has_ended = False

    @property
    def fds(self) -> set[int]:
        """Descriptors to wait for."""
        return {self.child.pidfd} if self.output_closed else {self.child.pidfd, self.child.out}

    def reap(self) -> bool:
        """Take note of its end, and kill what its script has started; False while it runs."""
        if not self.has_ended and self.child.reap():
            self.has_ended = True
            self.is_swept = self.mark.kill_all()  # those that have left its group
        return self.has_ended

    def end(self, wait_s: float) -> None:
        """See it end, after this time by force."""
        if not self.child.wait(wait_s):
            self.child.kill()
            self.child.wait(None)
        self.reap()

    def close(self) -> None:
        """Close the pipe and the memory shared with it, once it has ended."""
        self.pipe.close()
        self.running.close()
        self.child.close()

    def how(self) -> str:
        """Say how it has ended: "exit code 3" or "signal 11 (SIGSEGV)"."""
        code = self.child.exit_code
        assert code is not None
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"signal {-code}"
