"""Links that the pages of one processor need not submit again: most links of a site are repeats.

A URL is known from when the master has said that its task has a row (`Known`) until it says that tasks of the project
are deleted (another generation), or is another master. Only links that ask for nothing can be left out.
"""

from collections.abc import Iterable

from zspider.broker.messages import Page
from zspider.delivery import Follow
from zspider.script.known import Known, SeenUrls
from zspider.task import usual_taskid

KNOWN_MAX = 160_000  # URLs: some 40 MiB
UNCONFIRMED_MAX = 5000  # pages of which the master has not said yet that what they submitted has rows


class Repeats:
    """Remembers the URLs that the pages of one processor have submitted."""

    def __init__(self) -> None:
        self._urls = SeenUrls(KNOWN_MAX)
        self._unconfirmed: dict[int, tuple[int, bytes, dict[str, str]]] = {}  # by page: what `learn` may take
        self._newest_forgotten = 0  # page of `_unconfirmed`

    def known(self, page: Page) -> Known:
        """Return the URLs that this page need not submit."""
        return self._urls.of(page.project, page.generation)

    def ran(self, page: Page, known: Known, follows: Iterable[Follow]) -> None:
        """Note that a page has run, with what was `known`; its final outcome has these follows.

        If it runs again, because its slave thought that we are stuck, the first time counts: so it does there.
        """
        self._urls.learn(page.project, page.generation, known.fading)
        if not page.generation or page.number <= self._newest_forgotten:
            return
        taskids = {
            follow.url: follow.taskid
            for follow in follows
            if follow.asks_nothing and follow.taskid == usual_taskid(follow.url)
        }
        if taskids:
            self._unconfirmed.setdefault(page.number, (page.project, page.generation, taskids))
        if len(self._unconfirmed) > UNCONFIRMED_MAX:
            self._newest_forgotten = max(self._unconfirmed)
            self._unconfirmed.clear()

    def confirmed(self, pages: Iterable[int]) -> None:
        """Note that the follows of these pages' final outcomes have rows."""
        for number in pages:
            if (learned := self._unconfirmed.pop(number, None)) is not None:
                self._urls.learn(*learned)
