"""The process that runs scripts: reads pages from its slave, answers with what they led to.

`python -m zspider.roles.processor --pipe FD --index N`; one page at a time, in the main thread. It knows
neither the master nor the network. It must start quickly: no settings library, no database.
"""

import argparse
import gc
import os
import signal
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import monotonic  # by itself: a script may replace what `time` holds
from typing import Any

import msgspec

from zspider.broker import codec
from zspider.broker.messages import (
    AnyMessage,
    Known,
    LoadFailed,
    Page,
    Processed,
    ProjectScript,
    Retired,
    Script,
    Stop,
    Up,
    WantProject,
)
from zspider.broker.pipe import Pipe
from zspider.delivery import Follow, Outcome
from zspider.roles.machine.limits import (
    die_with_parent,
    give_up_rights,
    has_met_memory_limit,
    lift_memory_limit,
    limit_memory,
    own_session,
    peak_bytes,
    resident_bytes,
)
from zspider.roles.processor.current_page import Running
from zspider.roles.processor.options import IMPORT_WAIT_S, ProcessorOptions
from zspider.roles.processor.outcomes import (
    NAME_CHARS,
    cut,
    failed_to_load,
    final_outcome,
    info_outcome,
    part_outcome,
)
from zspider.roles.processor.repeats import Repeats
from zspider.script.deadline import SLOW_S, Deadline, standing_still
from zspider.script.errors import LoadError, ProjectImportError, is_of_memory
from zspider.script.loader import LoadedScript, ProjectFacts, load
from zspider.script.logs import captured
from zspider.script.projects import ProjectFinder, ProjectText
from zspider.script.pyspider import shim
from zspider.script.runner import run
from zspider.task import GET_INFO

LOADED_MAX = 200  # scripts whose modules are kept
WEIGH_S = 0.25  # how often the resident memory is looked at, between two pages
# A page's garbage is not in cycles, and what is imported stays: the usual 700 cost 2 % of the time.
GARBAGE_THRESHOLD = 10_000
GARBAGE_PART = 16  # of processor.memory_bytes: grown by this much, it looks for garbage at once
PAGES_TOGETHER = 12  # whose outcomes go with one call, as long as pages are quick
NICE = 5  # the slave, which has many pages under way and a master to talk to, goes first
IDLE_S = 0.5  # how often a signal to stop is looked for while there is nothing to do
ERROR_CHARS = 4000  # LoadFailed.error


class Processor:
    """The loop. `stopping` may be set by a signal handler; it ends after the page that runs.

    The outcomes of a few quick pages go to the slave together. Those that wait while a page turns out to be slow go
    at that moment: `_send_waiting` is called by the alarm of the time limit.

    A process that has run enough pages, holds too much memory or has met its memory limit says Retired after the
    page and ends: the slave gives what it was sent beyond that to another one.
    """

    def __init__(self, pipe: Pipe, running: Running, options: ProcessorOptions) -> None:
        self.stopping = False
        self._pipe = pipe
        self._running = running
        self._options = options
        self._texts: dict[bytes, bytes] = {}  # compressed; the slave sends each only once, so none is dropped
        self._loaded: OrderedDict[tuple[int, bytes], LoadedScript | LoadError] = OrderedDict()
        self._projects = ProjectFinder(self._ask_project)
        self._came: deque[AnyMessage] = deque()  # while an import waited for its answer
        self._repeats = Repeats()
        self._pages = 0  # run so far
        self._waiting = 0  # pages whose outcomes have not gone to the slave
        self._waiting_since = 0.0
        self._weigh_at = monotonic() + WEIGH_S
        self._weight = 0  # when garbage was looked for the last time because of it
        self._is_exhausted = False  # it has met its memory limit
        self._is_copy = False

    def run(self) -> None:
        """Work until told to stop, or until the slave is gone."""
        self._projects.install()
        self._pipe.queue(Up())
        self._pipe.flush(wait=True)
        while not self.stopping:
            message = self._came.popleft() if self._came else self._pipe.receive(IDLE_S)
            if message is not None:
                self._on_message(message)
            elif self._pipe.is_closed:
                self.stopping = True
        self._send_waiting()

    def _on_message(self, message: AnyMessage) -> None:
        match message:
            case Page(number=number):
                self._running.page = number  # if this page kills us, the slave knows which
                self._on_page(message)
                self._leave_if_copy()
                if reason := self._why_retire():
                    self._pipe.queue(Retired(reason))
                    self.stopping = True
                if not self._may_wait():
                    if self._send_waiting():
                        self._running.page = 0
                    else:  # the page has cut us off, and is to blame for our end
                        self.stopping = True
            case Known(numbers=numbers):
                self._repeats.confirmed(numbers)
                self._send_unless_page_comes()
            case Script(script=digest, text=text):
                self._texts[digest] = zlib.compress(text.encode("utf-8"))
                self._send_unless_page_comes()
            case Stop():
                self.stopping = True

    def _may_wait(self) -> bool:
        """Whether the outcomes of the next page may go with what is there."""
        self._waiting += 1
        if self._waiting == PAGES_TOGETHER or self.stopping or self._came or not self._pipe.has_message:
            return False
        now = monotonic()
        if self._waiting == 1:
            self._waiting_since = now
        return now - self._waiting_since < SLOW_S

    def _send_unless_page_comes(self) -> None:
        """What had waited for a page has met something else."""
        if self._waiting and not self._came and not self._pipe.has_message:
            self._send_waiting()

    def _send_waiting(self) -> bool:
        """Let the slave have all outcomes that are there; waits until it takes them. False: it is gone."""
        self._waiting = 0
        return self._pipe.flush(wait=True)

    def _why_retire(self) -> str:
        """Why another process shall take the next page; "": this one does."""
        self._pages += 1
        if self._is_exhausted:
            return "processor.memory_bytes"
        if self._pages == self._options.recycle_tasks:
            return f"{self._pages} pages (processor.recycle_tasks)"
        now = monotonic()
        if now < self._weigh_at:
            return ""
        self._weigh_at = now + WEIGH_S
        try:
            weight = self._weigh()
        except OSError as exc:  # it has no descriptor left
            return str(exc)
        limit = self._options.recycle_bytes
        return f"{weight >> 20} MiB (processor.recycle_mib)" if limit and weight > limit else ""

    def _weigh(self) -> int:
        """The resident memory; after a page that left much of it in cycles, of which the next would meet the limit,
        what remains without them.
        """
        weight = resident_bytes()
        if weight > self._weight + self._options.memory_bytes // GARBAGE_PART:
            gc.collect()
            weight = self._weight = resident_bytes()
        return weight

    def _on_memory_error(self, error: BaseException) -> str:
        """If an error means that the memory limit was met: make room to say so, and end after this page; else ""."""
        if not isinstance(error, MemoryError) and not (is_of_memory(error) and has_met_memory_limit()):
            return ""
        lift_memory_limit()
        self._is_exhausted = True
        limit = self._options.memory_bytes >> 20
        return f"over {limit:,} MiB (processor.memory_bytes), peak resident memory {peak_bytes() >> 20:,} MiB"

    def forked(self) -> None:
        """Called in a child that a script forks: it is no processor, and must not answer for one."""
        self._is_copy = True
        self._pipe.close()
        self._running.close()

    def _leave_if_copy(self) -> None:
        """End a forked child that has come back from the script."""
        if self._is_copy:
            os._exit(0)

    def _on_page(self, page: Page) -> None:
        if page.script not in self._texts:  # the slave sends it before; a slave that did not may do so now
            self._pipe.queue(LoadFailed(page.number, page.script, "this script was not sent to the processor"))
            return
        loaded = self._script(page)
        self._leave_if_copy()
        if isinstance(loaded, LoadError) and loaded.is_missing_module:  # another machine may have it
            self._pipe.queue(LoadFailed(page.number, page.script, str(loaded)[:ERROR_CHARS]))
        elif page.taskid == GET_INFO:
            self._send_final(page, info_outcome(page, loaded))
        elif isinstance(loaded, LoadedScript):
            self._process(page, loaded)
        else:
            self._send_final(page, failed_to_load(page, loaded))

    def _process(self, page: Page, loaded: LoadedScript) -> None:
        loaded.tell(_facts(page))
        known = self._repeats.known(page)
        ran = run(
            loaded,
            page.task,
            page.fetch,
            page.content,
            on_follows=lambda follows: self._send_parts(page, cut(follows)),
            limits=self._options,
            known=known,
            on_memory_error=self._on_memory_error,
            on_slow=self._on_slow if self._waiting else None,
        )
        *parts, last = cut(ran.follows) or [[]]
        self._send_parts(page, parts)
        self._send_final(page, final_outcome(page, ran, last))
        self._repeats.ran(page, known, last)

    def _on_slow(self) -> None:
        if not self._is_copy:
            self._send_waiting()

    def _script(self, page: Page) -> LoadedScript | LoadError:
        """The script a page needs; what could not be loaded is not tried again, unless it lacked a project."""
        key = (page.project, page.script)
        known = self._loaded.get(key)
        if known is not None:
            self._loaded.move_to_end(key)
            return known
        loaded = self._load(page)
        if isinstance(loaded, LoadError) and loaded.lacks:
            return loaded
        self._loaded[key] = loaded
        if len(self._loaded) > LOADED_MAX:
            _, oldest = self._loaded.popitem(last=False)
            if isinstance(oldest, LoadedScript):
                oldest.forget()
        return loaded

    def _load(self, page: Page) -> LoadedScript | LoadError:
        self._send_waiting()  # this may take its time
        text = zlib.decompress(self._texts[page.script]).decode("utf-8")
        self._projects.forget_imports()
        deadline = Deadline(self._options.process_time_limit_s)
        try:
            with captured(), deadline:
                return load({"name": page.project_name, **_facts(page).as_project()}, text)
        except MemoryError as error:
            return LoadError(f"MemoryError: {self._on_memory_error(error)}")
        except LoadError as error:
            said = self._on_memory_error(error.__cause__) if error.__cause__ is not None else ""
            return LoadError(f"MemoryError: {said}") if said else error
        except TimeoutError as error:  # it struck between the script's end and ours
            return LoadError(f"TimeoutError: {error}")
        finally:
            deadline.stop()

    def _ask_project(self, name: str) -> ProjectText | None:
        """A project's script, from the master; the time of the script that imports it stands still meanwhile."""
        if threading.current_thread() is not threading.main_thread():
            raise ProjectImportError(name, f"project {name!r} can be imported by the main thread only")
        if len(name) > NAME_CHARS:
            return None
        with standing_still():
            self._pipe.queue(WantProject(name))
            self._pipe.flush(wait=True)
            until = monotonic() + IMPORT_WAIT_S
            while (left_s := until - monotonic()) > 0 and not self._pipe.is_closed:
                match self._pipe.receive(left_s):
                    case ProjectScript(name=said, script=script, status=status, text=text) if said == name:
                        return None if script is None else ProjectText(script, status, text)
                    case None:
                        pass
                    case message:
                        self._came.append(message)
        raise ProjectImportError(
            name, f"the master did not answer within {IMPORT_WAIT_S:g} s whether it knows project {name!r}"
        )

    def _send_parts(self, page: Page, parts: Iterable[list[Follow]]) -> None:
        for follows in parts:
            self._pipe.queue(Processed(page.number, False, codec.encode_outcome(part_outcome(page, follows))))
            self._pipe.flush(wait=True)

    def _send_final(self, page: Page, outcome: Outcome) -> None:
        self._pipe.queue(Processed(page.number, True, codec.encode_outcome(outcome)))


def _facts(page: Page) -> ProjectFacts:
    return ProjectFacts(page.project_status, page.group, page.rate, page.burst, page.updated_ms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a processor until its slave says Stop or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="python -m zspider.roles.processor")
    parser.add_argument("--pipe", type=int, required=True, help="the descriptor of our end of the slave's pipe")
    parser.add_argument("--running", type=int, required=True, help="the descriptor where we say which page we run")
    parser.add_argument("--index", type=int, default=0, help="which processor of its slave this is, for `ps`")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the slave's pid")
    parser.add_argument("--options", default="{}", help="JSON of ProcessorOptions")
    given = parser.parse_args(arguments)
    options = msgspec.json.decode(given.options, type=ProcessorOptions)
    die_with_parent(given.parent)
    own_session()
    with suppress(OSError):  # a container's filter of system calls may refuse it; pages are processed all the same
        os.nice(NICE)
    give_up_rights()
    shim.install()
    pipe = Pipe.inherited(given.pipe)
    running = Running(given.running)
    processor = Processor(pipe, running, options)
    os.register_at_fork(after_in_child=processor.forked)

    def stop(number: int, frame: Any) -> None:
        processor.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the slave decides
    limit_memory(options.memory_bytes)
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        processor.run()
    finally:
        pipe.close()
        running.close()
    return 0
