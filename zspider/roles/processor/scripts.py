"""The scripts of a processor: their texts, and those that it has loaded."""

import zlib
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic  # by itself: a script may replace what `time` holds

from zspider.broker.messages import Page
from zspider.roles.processor.options import ProcessorOptions
from zspider.roles.processor.retirement import Retirement
from zspider.script.deadline import Deadline
from zspider.script.errors import LoadError, reason_of, user_traceback
from zspider.script.guard import attempt
from zspider.script.loader import LoadedScript, ProjectFacts, load
from zspider.script.logs import captured
from zspider.script.projects import ProjectFinder, ProjectText
from zspider.task import GET_INFO

FAILED_S = 5.0  # for so long pages of a script that could not be loaded fail without another try
LOADED_MAX = 200  # scripts whose modules are kept


class Scripts:
    """Loads each script when its first page comes."""

    def __init__(
        self,
        options: ProcessorOptions,
        retirement: Retirement,
        ask_project: Callable[[str], ProjectText | None],
        *,
        before_load: Callable[[], object],
    ) -> None:
        """ask_project: returns the script of a project that is imported.

        before_load: called first, as loading may be slow.
        """
        self._time_limit_s = options.process_time_limit_s
        self._retirement = retirement
        self._before_load = before_load
        self._texts: dict[bytes, bytes] = {}  # compressed; the slave sends each only once, so none is dropped
        self._loaded: OrderedDict[tuple[int, bytes], LoadedScript | LoadError] = OrderedDict()
        self._failed_until: dict[tuple[int, bytes], float] = {}  # of those that could not be loaded
        self._projects = ProjectFinder(ask_project)

    def install_imports(self) -> None:
        """Make `from projects import ...` work in this process."""
        self._projects.install()

    def put(self, script: bytes, text: str) -> None:
        """Keep a script's text."""
        self._texts[script] = zlib.compress(text.encode("utf-8"))

    def get(self, page: Page) -> LoadedScript | LoadError | None:
        """Return the script a page needs, loaded; None: its text is not here.

        What could not be loaded is tried again when the page asks what it declares, when it lacked a project, and
        after FAILED_S.
        """
        key = (page.project, page.script)
        known = self._loaded.get(key)
        if isinstance(known, LoadError) and (page.taskid == GET_INFO or monotonic() >= self._failed_until[key]):
            known = None
        if known is not None:
            self._loaded.move_to_end(key)
            return known
        if page.script not in self._texts:
            return None
        loaded = self._load(page)
        if isinstance(loaded, LoadError) and loaded.lacks:
            return loaded
        self._loaded[key] = loaded
        self._failed_until.pop(key, None)
        if isinstance(loaded, LoadError):
            self._failed_until[key] = monotonic() + FAILED_S
        if len(self._loaded) > LOADED_MAX:
            evicted, oldest = self._loaded.popitem(last=False)
            self._failed_until.pop(evicted, None)
            if isinstance(oldest, LoadedScript):
                oldest.forget()
        return loaded

    def _load(self, page: Page) -> LoadedScript | LoadError:
        self._before_load()
        text = zlib.decompress(self._texts[page.script]).decode("utf-8")
        self._projects.forget_imports()
        deadline = Deadline(self._time_limit_s)
        on_memory_error, make_room = self._retirement.on_memory_error, self._retirement.make_room
        try:
            with captured(), deadline:
                return load({"name": page.project_name, **facts_of(page).as_project()}, text)
        except MemoryError as error:
            make_room()
            return LoadError(f"MemoryError: {on_memory_error(error)}")
        except LoadError as error:
            cause = error.__cause__
            said = attempt(lambda: on_memory_error(cause), "") if cause is not None else ""
            return LoadError(f"MemoryError: {said}") if said else error
        except BaseException as error:  # such as the time limit, struck between the script's end and ours
            raised = error
            return attempt(lambda: LoadError(reason_of(raised), user_traceback(raised)), LoadError("an odd error"))
        finally:
            deadline.stop()


def facts_of(page: Page) -> ProjectFacts:
    """Return what a script may see of its project."""
    return ProjectFacts(page.project_status, page.group, page.rate, page.burst, page.updated_ms)
