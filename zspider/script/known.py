"""URLs that have a task already, as the master has confirmed: submitting them again would change nothing."""

from collections.abc import Mapping
from typing import NamedTuple

_NONE: Mapping[str, str] = {}


class _Seen(NamedTuple):
    generation: bytes
    taskids: dict[str, str]  # by URL


class Known:
    """The known URLs of one project, for one run. `fading`: URLs that were asked for and are soon forgotten."""

    __slots__ = ("_old", "_young", "fading")

    def __init__(self, young: Mapping[str, str] = _NONE, old: Mapping[str, str] = _NONE) -> None:
        self.fading: dict[str, str] = {}
        self._young = young
        self._old = old

    def get(self, url: str) -> str | None:
        """Return the taskid of this URL, if it is known."""
        taskid = self._young.get(url)
        if taskid is None and (taskid := self._old.get(url)) is not None:
            self.fading[url] = taskid
        return taskid


class SeenUrls:
    """The URLs met most recently: at least the last `size // 2`, and not many more than `size`.

    What is known of a project is true within one generation of it (broker.messages), and forgotten when it has another
    one. Two ages instead of a linked list: a URL costs one entry, and what fades is learned again when it is met.
    """

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: dict[int, _Seen] = {}
        self._old: dict[int, _Seen] = {}
        self._learned = 0  # URLs in `_young`, and those of generations that it has forgotten

    def of(self, project: int, generation: bytes) -> Known:
        """Return what is known in this generation of the project."""
        return Known(_taskids(self._young.get(project), generation), _taskids(self._old.get(project), generation))

    def learn(self, project: int, generation: bytes, taskids: Mapping[str, str]) -> None:
        """Tasks with these URLs have rows; their taskids are the usual ones, which the URL alone decides.

        An empty generation promises nothing, so nothing is learned.
        """
        if not (generation and taskids):
            return
        seen = self._young.get(project)
        if seen is None or seen.generation != generation:
            seen = self._young[project] = _Seen(generation, {})
        before = len(seen.taskids)
        seen.taskids.update(taskids)
        self._learned += len(seen.taskids) - before
        if self._learned >= self._half:
            self._old, self._young, self._learned = self._young, {}, 0


def _taskids(seen: _Seen | None, generation: bytes) -> Mapping[str, str]:
    return seen.taskids if seen is not None and seen.generation == generation else _NONE
