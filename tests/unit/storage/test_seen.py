"""The keys that are known without a query: never more than so many, never a wrong one."""

from hypothesis import given
from hypothesis import strategies as st
from zspider.storage.seen import SeenKeys, packed
from zspider.task import Ref

REFS = [Ref(project, bytes([number]) * 16) for project in (1, 2) for number in range(20)]


@given(st.integers(0, 12), st.lists(st.tuples(st.sampled_from(["add", "ask", "discard"]), st.sampled_from(REFS))))
def test_it_holds_the_newest_half_of_its_size_and_never_more_than_its_size(size, history):
    seen, stored, newest = SeenKeys(size), set(), []
    for what, ref in history:
        key = packed(ref.project) + ref.key
        match what:
            case "add":
                seen.update([ref])
                stored.add(key)
            case "discard":
                seen.discard([ref])
                stored.discard(key)
                newest = [one for one in newest if one != key]
            case "ask" if key not in seen:
                continue
        if what != "discard":
            newest = [*(one for one in newest if one != key), key]
        assert len(seen) <= size
        known = {one for one in (packed(ref.project) + ref.key for ref in REFS) if one in (seen._young | seen._old)}
        assert known <= stored
        assert known >= set(newest[len(newest) - size // 2 :] if size > 1 else ())
