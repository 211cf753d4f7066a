"""Which hosts were asked most in the last five minutes, and how they answered. Bounded, whatever the web has."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

SLOT_S = 10
SLOTS = 30
OPEN_HOSTS_MAX = 2000  # counted by name in the slot of now: busy ones come early in it
KEPT_HOSTS_MAX = 200  # of a slot that is over: its busiest
OTHERS = ""  # all hosts that are not counted by name

Runs = Sequence[int]  # runs that ended, those that did not end well, their milliseconds of fetching


class HostRate(NamedTuple):
    """The pages of a host in the last minutes. host: OTHERS for the sum of the rest."""

    host: str
    pages: int
    failed: int
    fetch_ms: int  # of all pages together
    pages_per_s: float


class _Slot(NamedTuple):
    begin: int
    hosts: dict[str, list[int]]


class HostRates:
    """Runs by host, in slots of SLOT_S. Every run is counted: by its host's name, or among the others."""

    def __init__(self, now: float) -> None:
        """now: monotonic seconds, here and in the other methods; never earlier than in the last call."""
        self._since = now
        self._slots: deque[_Slot] = deque()

    def add(self, runs: Mapping[str, Runs], now: float) -> None:
        """Count the runs of a transaction, by host."""
        hosts = self._open(now)
        for host, numbers in runs.items():
            counted = hosts.get(host)
            if counted is None:
                name = host if len(hosts) < OPEN_HOSTS_MAX else OTHERS
                counted = hosts.setdefault(name, [0, 0, 0])
            _add(counted, numbers)

    def busiest(self, limit: int, now: float) -> list[HostRate]:
        """Return the hosts with the most pages, and at the end the sum of all others, if there are any."""
        self._open(now)
        sums: dict[str, list[int]] = {}
        for slot in self._slots:
            for host, numbers in slot.hosts.items():
                _add(sums.setdefault(host, [0, 0, 0]), numbers)
        kept = _busiest(sums, limit)
        first = self._slots[-1].begin - (SLOTS - 1) * SLOT_S
        span_s = max(1.0, now - max(self._since, first))
        return [HostRate(host, pages, failed, ms, pages / span_s) for host, (pages, failed, ms) in kept.items()]

    def _open(self, now: float) -> dict[str, list[int]]:
        """The slot of now; older ones are cut or forgotten."""
        begin = int(now // SLOT_S) * SLOT_S
        if not self._slots or self._slots[-1].begin != begin:
            if self._slots:
                over = self._slots.pop()
                self._slots.append(_Slot(over.begin, _busiest(over.hosts, KEPT_HOSTS_MAX)))
            self._slots.append(_Slot(begin, {}))
            while self._slots[0].begin <= begin - SLOTS * SLOT_S:
                self._slots.popleft()
        return self._slots[-1].hosts


def _busiest(hosts: Mapping[str, list[int]], limit: int) -> dict[str, list[int]]:
    """Return the hosts with the most pages, the rest summed up under OTHERS at the end."""
    named = sorted(hosts.keys() - {OTHERS}, key=lambda host: (-hosts[host][0], host))
    kept = {host: hosts[host] for host in named[:limit]}
    rest = [0, 0, 0]
    for numbers in _of(hosts, [OTHERS, *named[limit:]]):
        _add(rest, numbers)
    return {**kept, OTHERS: rest} if any(rest) else kept


def _of(hosts: Mapping[str, list[int]], names: Iterable[str]) -> Iterable[list[int]]:
    return (hosts[name] for name in names if name in hosts)


def _add(sums: list[int], numbers: Runs) -> None:
    for at, value in enumerate(numbers):
        sums[at] += value
