"""Which processors wait for a project that their script imports, and which projects to ask the master for. Pure."""

from zspider.roles.processor.options import IMPORT_WAIT_S

ASK_AGAIN_S = 2.0


class ImportRequests:
    """Keeps which processor waits for which project, one at a time; an answer is for all that wait for it."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[str, float]] = {}  # processor -> project, since when
        self._asked: dict[str, float] = {}

    def want(self, processor: int, name: str, now: float) -> None:
        """Ask for this project with the next `to_ask`, though it was asked for before: it may be another script now."""
        self._waiting[processor] = (name, now)
        self._asked.pop(name, None)

    def to_ask(self, now: float) -> list[str]:
        """Return the projects to ask the master for now; each again after a while without an answer."""
        if not self._waiting:
            return []
        names = {name for name, since in self._waiting.values() if now - since < IMPORT_WAIT_S}
        due = sorted(name for name in names if self._asked.get(name, float("-inf")) + ASK_AGAIN_S <= now)
        self._asked.update(dict.fromkeys(due, now))
        return due

    def came(self, name: str) -> list[int]:
        """Return the processors that waited for this answer; they do so no more."""
        self._asked.pop(name, None)
        found = [processor for processor, (wanted, _) in self._waiting.items() if wanted == name]
        for processor in found:
            del self._waiting[processor]
        return found

    def is_waiting(self, processor: int, now: float) -> bool:
        """Return whether a processor may still wait for its answer."""
        waiting = self._waiting.get(processor)
        return waiting is not None and now - waiting[1] < IMPORT_WAIT_S

    def gone(self, processor: int) -> None:
        """Note that a processor does not wait any more. Safe to repeat."""
        self._waiting.pop(processor, None)
