"""The process that runs scripts: reads pages from its slave, answers with what they led to.

One page at a time, in the main thread. It knows neither the master nor the network.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable
from time import monotonic  # by itself: a script may replace what `time` holds

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
from zspider.roles.processor.current_page import CurrentPage
from zspider.roles.processor.options import IMPORT_WAIT_S, ProcessorOptions
from zspider.roles.processor.outcomes import (
    NAME_CHARS,
    cut,
    cut_short,
    failed_to_load,
    final_outcome,
    info_outcome,
    part_outcome,
)
from zspider.roles.processor.repeats import Repeats
from zspider.roles.processor.retirement import Retirement
from zspider.roles.processor.scripts import Scripts, facts_of
from zspider.script.deadline import SLOW_S, Deadline, standing_still
from zspider.script.errors import LoadError, ProjectImportError
from zspider.script.loader import LoadedScript
from zspider.script.logs import captured
from zspider.script.projects import ProjectText
from zspider.script.runner import run
from zspider.task import GET_INFO

PAGES_TOGETHER = 12  # whose outcomes go with one call, as long as pages are quick
IDLE_S = 0.5  # how often a signal to stop is looked for while there is nothing to do
ERROR_CHARS = 4000  # LoadFailed.error


class Processor:
    """Runs pages until it is told to stop; a signal handler may set `stopping`, and it ends after the page that runs.

    The outcomes of a few quick pages go to the slave together. Those that wait while a page turns out to be slow go
    at that moment: `_send_waiting` is called by the alarm of the time limit.

    A process that has run enough pages, holds too much memory or has met its memory limit says Retired after the
    page and ends: the slave gives what it was sent beyond that to another one.
    """

    def __init__(self, pipe: Pipe, running: CurrentPage, options: ProcessorOptions) -> None:
        self.stopping = False
        self._pipe = pipe
        self._running = running
        self._options = options
        self._retirement = Retirement(options)
        self._scripts = Scripts(options, self._retirement, self._ask_project, before_load=self._send_waiting)
        self._came: deque[AnyMessage] = deque()  # while an import waited for its answer
        self._repeats = Repeats()
        self._waiting = 0  # pages whose outcomes have not gone to the slave
        self._waiting_since = 0.0
        self._is_copy = False

    def run(self) -> None:
        """Work until told to stop, or until the slave is gone."""
        self._scripts.install_imports()
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
                if reason := self._retirement.reason():
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
                self._scripts.put(digest, text)
                self._send_unless_page_comes()
            case Stop():
                self.stopping = True

    def _may_wait(self) -> bool:
        """Return whether outcomes may wait for those of the next page, to go together."""
        self._waiting += 1
        if self._waiting == PAGES_TOGETHER or self.stopping or self._came or not self._pipe.has_message:
            return False
        now = monotonic()
        if self._waiting == 1:
            self._waiting_since = now
        return now - self._waiting_since < SLOW_S

    def _send_unless_page_comes(self) -> None:
        """Send outcomes that waited for a page, as none is there."""
        if self._waiting and not self._came and not self._pipe.has_message:
            self._send_waiting()

    def _send_waiting(self) -> bool:
        """Send all outcomes that are there; waits until the slave takes them. False: it is gone."""
        self._waiting = 0
        return self._pipe.flush(wait=True)

    def forked(self) -> None:
        """Let go of the slave, in a child that a script forks: it is no processor, and must not answer for one."""
        self._is_copy = True
        self._pipe.close()
        self._running.close()

    def _leave_if_copy(self) -> None:
        """End a forked child that has come back from the script."""
        if self._is_copy:
            os._exit(0)

    def _on_page(self, page: Page) -> None:
        """Answer a page, whatever its script does. An answer is queued as the last thing: there is never a second."""
        try:
            answer = self._answer(page)
        except BaseException as error:  # by a signal's handler or a thread of a script, or what it has replaced
            self._retirement.is_damaged = True
            answer = self._final(page, cut_short(page, error))
        self._leave_if_copy()
        self._pipe.queue(answer)

    def _answer(self, page: Page) -> LoadFailed | Processed:
        loaded = self._scripts.get(page)
        self._leave_if_copy()
        if loaded is None:  # the slave sends it before; a slave that did not may do so now
            return LoadFailed(page.number, page.script, "this script was not sent to the processor")
        if isinstance(loaded, LoadError) and loaded.is_missing_module:  # another machine may have it
            return LoadFailed(page.number, page.script, str(loaded)[:ERROR_CHARS])
        if page.taskid == GET_INFO:
            return self._final(page, self._info(page, loaded))
        if isinstance(loaded, LoadedScript):
            return self._process(page, loaded)
        return self._final(page, failed_to_load(page, loaded))

    def _info(self, page: Page, loaded: LoadedScript | LoadError) -> Outcome:
        """Ask the script within its time: `crawl_config` may be a property, and its values have methods."""
        deadline = Deadline(self._options.process_time_limit_s)
        try:
            with captured(), deadline:
                return info_outcome(page, loaded)
        finally:
            deadline.stop()

    def _process(self, page: Page, loaded: LoadedScript) -> Processed:
        loaded.tell(facts_of(page))
        known = self._repeats.known(page)
        ran = run(
            loaded,
            page.task,
            page.fetch,
            page.content,
            on_follows=lambda follows: self._send_parts(page, cut(follows)),
            limits=self._options,
            known=known,
            on_memory_error=self._retirement.on_memory_error,
            make_room=self._retirement.make_room,
            on_slow=self._on_slow if self._waiting else None,
        )
        *parts, last = cut(ran.follows) or [[]]
        self._send_parts(page, parts)
        if ran.is_damaged:
            self._retirement.is_damaged = True
        answer = self._final(page, final_outcome(page, ran, last))
        self._repeats.ran(page, known, last)
        return answer

    def _on_slow(self) -> None:
        if not self._is_copy:
            self._send_waiting()

    def _ask_project(self, name: str) -> ProjectText | None:
        """Return a project's script, from the master; the time of the script that imports it stands still meanwhile."""
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

    def _final(self, page: Page, outcome: Outcome) -> Processed:
        return Processed(page.number, True, codec.encode_outcome(outcome))
