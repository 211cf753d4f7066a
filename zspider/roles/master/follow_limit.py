"""`limits.follows` at the master: how many URLs the parts of one run may submit, whatever slave sends them."""

from collections import OrderedDict

from zspider.delivery import End, Outcome
from zspider.task import Ref

RUNS_MAX = 10_000  # with parts, that are remembered
PART_FOLLOWS_MIN = 100  # a smaller part counts as so many


class _Delivery:
    """What one delivery of a run has submitted in parts."""

    def __init__(self) -> None:
        self.follows = 0
        self.parts: set[tuple[bytes, int]] = set()  # session and id: a part that comes again is not counted again
        self.is_over = False


class FollowLimit:
    """Counts the follows of each delivery that sends some ahead of its end."""

    def __init__(self, follows_max: int) -> None:
        """follows_max: most of one delivery; 1 or more."""
        self._max = follows_max
        self._runs: OrderedDict[tuple[Ref, int], dict[int, _Delivery]] = OrderedDict()

    @property
    def reason(self) -> str:
        """Why a run fails that submits more."""
        return f"more than {self._max} URLs submitted by one run (limits.follows of the master)"

    def is_over(self, ref: Ref, run: int) -> bool:
        """Return whether a run has submitted too much."""
        deliveries = self._runs.get((ref, run))
        return deliveries is not None and any(one.is_over for one in deliveries.values())

    def admits(self, ref: Ref, outcome: Outcome, item: tuple[bytes, int]) -> bool:
        """Count the follows of an outcome, and return whether the run may submit them. item: its session and id."""
        is_part = outcome.end is End.PART
        deliveries = self._runs.get((ref, outcome.run))
        if deliveries is None:
            if not is_part:
                return len(outcome.follows) <= self._max
            deliveries = self._runs[ref, outcome.run] = {}
            if len(self._runs) > RUNS_MAX:
                self._runs.popitem(last=False)
        delivery = deliveries.setdefault(outcome.attempt, _Delivery())
        if item in delivery.parts:
            return not delivery.is_over
        follows = delivery.follows + len(outcome.follows)
        if follows > self._max:
            delivery.is_over = True
        if is_part and not delivery.is_over:
            delivery.follows = max(follows, delivery.follows + min(PART_FOLLOWS_MIN, self._max))
            delivery.parts.add(item)
        return not delivery.is_over

    def ended(self, ref: Ref, run: int) -> bool:
        """Forget a run that has ended, and return whether it had submitted too much."""
        deliveries = self._runs.pop((ref, run), None)
        return deliveries is not None and any(one.is_over for one in deliveries.values())
