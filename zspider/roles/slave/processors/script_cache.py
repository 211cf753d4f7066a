"""Script texts by their hash: what is kept, what was asked for, and which scripts cannot be loaded here. Pure."""

from collections import OrderedDict

TEXT_CHARS_MAX = 64 * 1024 * 1024  # of all texts together; the ones used longest ago go first
ASK_AGAIN_S = 5.0
BARRED_S = 1.0  # what was granted before the master heard of it goes back at once; then the master decides when to try
GIVE_UP_S = 60.0  # a master that does not answer for so long does not have it


class ScriptCache:
    """Keeps script texts, in a bounded space. A text is immutable under its hash, so none grows old."""

    def __init__(self, chars_max: int = TEXT_CHARS_MAX) -> None:
        self._chars_max = chars_max
        self._texts: OrderedDict[bytes, str] = OrderedDict()
        self._chars = 0
        self._first_asked: dict[bytes, float] = {}
        self._asked: dict[bytes, float] = {}
        # Those that cannot be loaded here: why, and until when that is taken as so.
        self._barred: dict[bytes, tuple[str, float]] = {}

    def get(self, script: bytes) -> str | None:
        """Return the text, if it is here."""
        text = self._texts.get(script)
        if text is not None:
            self._texts.move_to_end(script)
        return text

    def want(self, script: bytes, now: float) -> None:
        """Ask for this text with the next `to_ask`, unless it is here or asked for."""
        if script not in self._texts:
            self._first_asked.setdefault(script, now)

    @property
    def is_waiting(self) -> bool:
        """Whether a text is wanted that is not here."""
        return bool(self._first_asked)

    def to_ask(self, now: float) -> list[bytes]:
        """Return the hashes to ask the master for now; each again after a while without an answer."""
        if not self._first_asked:
            return []
        due = [script for script in self._first_asked if self._asked.get(script, float("-inf")) + ASK_AGAIN_S <= now]
        self._asked.update(dict.fromkeys(due, now))
        return due

    def ask_again(self) -> None:
        """Ask again for all that is wanted: the connection is a new one, and what was asked may be lost."""
        self._asked.clear()

    def clear(self) -> None:
        """Forget everything: the master is another one."""
        self._texts.clear()
        self._first_asked.clear()
        self._asked.clear()
        self._barred.clear()
        self._chars = 0

    def bar(self, script: bytes, error: str, now: float) -> None:
        """Note that this machine cannot load a script. It is not final: what is missing may come."""
        self._barred[script] = (error or "it cannot be loaded", now + BARRED_S)

    def why_barred(self, script: bytes, now: float) -> str:
        """Return why a script was found a moment ago to be none that this machine can load; "" if it was not."""
        if not self._barred or (known := self._barred.get(script)) is None:
            return ""
        error, until = known
        if now < until:
            return error
        del self._barred[script]
        return ""

    def overdue(self, now: float) -> list[bytes]:
        """Return scripts for which no answer came in time; they are not wanted any more."""
        late = [script for script, asked in self._first_asked.items() if now - asked >= GIVE_UP_S]
        for script in late:
            self._settle(script)
        return late

    def put(self, script: bytes, text: str) -> None:
        """Keep a text that came."""
        self._settle(script)
        if script not in self._texts:
            self._texts[script] = text
            self._chars += len(text)
        while self._chars > self._chars_max and len(self._texts) > 1:
            _, dropped = self._texts.popitem(last=False)
            self._chars -= len(dropped)

    def _settle(self, script: bytes) -> None:
        self._first_asked.pop(script, None)
        self._asked.pop(script, None)
