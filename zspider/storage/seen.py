"""Which tasks certainly have a row: the cache that lets repeated links cost no query."""

from collections.abc import Iterable

from zspider.task import Ref


def packed(project: int) -> bytes:
    """Return what stands before a task's key in `SeenKeys`. One flat bytes object costs half of what a Ref does."""
    return project.to_bytes(4, "big")


class SeenKeys:
    """The most recently seen task keys: at least the last `size // 2` distinct ones, at most `size`.

    Two generations instead of a linked list: a key costs one set entry, and a hit in the older set moves it
    to the younger. A key is added only after its row is committed, so an answer of True is never wrong.
    """

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        if key in self._young:
            return True
        if key not in self._old:
            return False
        self._add(key)
        return True

    def __len__(self) -> int:
        return len(self._young | self._old)

    def update(self, refs: Iterable[Ref]) -> None:
        """Remember tasks whose rows are committed."""
        if self._half:
            for ref in refs:
                self._add(packed(ref.project) + ref.key)

    def discard(self, refs: Iterable[Ref]) -> None:
        """Forget these: call it before the COMMIT that deletes their rows, or an answer may be wrong."""
        keys = {packed(ref.project) + ref.key for ref in refs}
        self._young -= keys
        self._old -= keys

    def clear(self) -> None:
        """Forget all: rows are being deleted."""
        self._young.clear()
        self._old.clear()

    def _add(self, key: bytes) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, set()
        self._young.add(key)
