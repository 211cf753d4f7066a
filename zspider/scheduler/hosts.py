"""How often each host may be asked, by all slaves and projects together: limits, pauses, and who waits for a host.

It knows hosts by name and nothing of tasks. A host that nothing limits has no entry, and while no host has one and
no setting limits any, `is_used` is false and no question need be asked. Times are monotonic seconds.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from heapq import heappop, heappush
from math import inf
from typing import Literal, NamedTuple

from msgspec import Struct

from zspider.delivery import Answer
from zspider.settings import HostRule, PolitenessSettings

HOSTS_MAX = 200_000  # some 60 MB; above it those asked least recently go first
CLEAN_S = 60.0  # how often hosts of which nothing need be known are forgotten
RULES_CACHED = 50_000  # hosts whose rule is remembered
REFUSALS = frozenset({429, 503})  # RFC 6585 section 4, RFC 9110 section 15.6.4: later, please
NO_ANSWER = frozenset({0, 599})  # the host was not asked, or did not answer
ALONE_S = 300.0  # longest pause on one slave's word: if it is true, the one request after it confirms it
SILENT_S = 5.0  # a host that has not answered for so long, while it is asked, may be dead
SILENT_MIN = 8  # so many requests at once it may have anyway
_NO_LIMIT = 1 << 62
ADAPTIVE_START_S = 1.0  # between two requests to a host that has not answered yet
_USUAL = Answer()


class Holding(NamedTuple):
    """Why a host may not be asked now."""

    reason: Literal["concurrency", "delay", "back-off", "silent"]
    limit: float  # requests at once, seconds between two starts, or seconds of the pause
    until: float  # when it may be asked; inf: when one of those that run has ended
    by: str = ""  # of a back-off: the slave that reported the refusal


class HostFigures(NamedTuple):
    """A host that politeness holds or watches."""

    host: str
    leased: int
    concurrency: int  # most at once now; 0: no limit
    delay_s: float  # between two starts, for whatever reason
    refusals: int  # 429s and 503s in a row


class _Host(Struct, eq=False):
    rule: HostRule
    leased: int = 0
    last_start: float = -inf
    hold_until: float = -inf
    hold_since: float = -inf
    refusals: int = 0  # in a row; until a better answer one request at a time is enough to see how it is
    told_by: bytes = b""  # session that reported the refusal that began the pause
    told_on: str = ""  # its machine
    crawl_delay_s: float = 0.0
    adaptive_s: float = 0.0
    last_answer: float = -inf
    since: float = -inf  # when it was asked first

    @property
    def delay_s(self) -> float:
        """Least seconds from one start to the next."""
        return max(self.rule.delay_s, self.crawl_delay_s, self.adaptive_s)

    @property
    def concurrency(self) -> int:
        """Most tasks that run at once; 0: no limit."""
        return 1 if self.refusals else self.rule.concurrency

    def wait_s(self, now: float, silent_max: int = _NO_LIMIT) -> float:
        """Return the seconds until the host may be asked; inf: when a task has ended.

        silent_max: most tasks that run at once while the host does not answer.
        """
        if self.leased >= self.concurrency > 0 or self.is_held_silent(now, silent_max):
            return inf
        return max(0.0, self.hold_until - now, self.last_start + self.delay_s - now)

    def is_held_silent(self, now: float, silent_max: int) -> bool:
        """Return whether it has as many requests as a host that does not answer may have."""
        return self.leased >= silent_max and now - self.last_answer > SILENT_S

    def is_idle(self, now: float) -> bool:
        """Return whether nothing is lost when it is forgotten."""
        return not (self.leased or self.refusals or self.crawl_delay_s or self.adaptive_s or self.wait_s(now))


class HostLimits:
    """The limits of all hosts. At most `concurrency` tasks of a host run, and `delay_s` lies between two starts.

    A host that has not answered lately gets only a share of what the slaves can have: a dead one harms itself only.
    """

    def __init__(self, settings: PolitenessSettings) -> None:
        self._hosts: dict[str, _Host] = {}  # in order of their last start
        self._waited: dict[str, float] = {}  # awaited hosts -> the time of their entry in `_wakes`, or inf
        self._wakes: list[tuple[float, str]] = []  # heap; an entry of another time than `_waited` has is outdated
        self._to_look_at: list[str] = []  # waited for, and something of them has ended
        self._clean_at = -inf
        self._silent_max = _NO_LIMIT
        self.change(settings)

    def set_capacity(self, leases: int) -> None:
        """Say how many tasks all slaves may have together: a host that does not answer gets a share of that."""
        share = self._settings.silent_share
        most = _NO_LIMIT if share >= 1 else max(SILENT_MIN, int(share * leases))
        if most > self._silent_max:
            self._to_look_at += self._waited  # some may be asked more now
        self._silent_max = most

    def change(self, settings: PolitenessSettings) -> None:
        """Replace the settings. Running tasks keep counting towards their hosts."""
        self._settings = settings
        self._usual = HostRule(match="*", concurrency=settings.concurrency, delay_s=settings.delay_s)
        self._has_rules = settings.adaptive or any(_limits(rule) for rule in (*settings.rules, self._usual))
        self._watches = settings.silent_share < 1
        self._rule_of = lru_cache(RULES_CACHED)(self._find_rule)
        for name, host in self._hosts.items():
            host.rule = self._rule_of(name)
            host.adaptive_s = host.adaptive_s if settings.adaptive else 0.0
        self._to_look_at += self._waited

    @property
    def is_used(self) -> bool:
        """Whether anything limits any host."""
        return self._watches or self._has_rules or bool(self._hosts)

    # --- asking

    def wait_s(self, name: str, now: float) -> float:
        """Return the seconds until this host may be asked; 0.0: now, inf: when a request to it has ended."""
        host = self._hosts.get(name)
        return 0.0 if host is None else host.wait_s(now, self._silent_max)

    def is_new(self, name: str, now: float) -> bool:
        """Return whether it is asked for the first time and may still answer, so that nothing is known of it."""
        host = self._hosts.get(name)
        return host is not None and host.last_answer == -inf and now - host.since <= SILENT_S

    def begin(self, name: str, start: float) -> bool:
        """Count a task of this host, which starts at `start`. False: nothing limits the host, so it is not counted."""
        host = self._hosts.pop(name, None)
        if host is None:
            rule = self._rule_of(name)
            if not (self._watches or _limits(rule) or self._settings.adaptive):
                return False
            host = self._new(rule, start)
        self._hosts[name] = host  # the last one now
        host.leased += 1
        host.last_start = max(host.last_start, start)
        return True

    def end(self, name: str) -> None:
        """Count off a task that `begin` counted: it runs no more."""
        host = self._hosts.get(name)
        if host is not None:
            host.leased -= 1
        if name in self._waited:
            self._to_look_at.append(name)

    def refund(self, name: str, start: float) -> None:
        """Give the place of a task that was to start at `start`, and was not started, to another task."""
        host = self._hosts.get(name)
        if host is not None and host.last_start == start:
            host.last_start = start - host.delay_s

    def answered(
        self,
        name: str,
        answer: Answer | None,
        fetch_s: float,
        granted: float,
        now: float,
        by: tuple[bytes, str] = (b"", ""),
    ) -> None:
        """Note a host's answer to a task. answer: None for a 200 that asks for nothing.

        by: session and machine of the slave that reports it.
        """
        said = answer or _USUAL
        host = self._hosts.get(name)
        if host is None:
            if not (said.crawl_delay_ms or (said.status in REFUSALS and self._settings.back_off)):
                return
            host = self._hosts[name] = self._new(self._rule_of(name), now)
        if said.status not in NO_ANSWER:
            host.last_answer = now
        if said.crawl_delay_ms:
            host.crawl_delay_s = min(said.crawl_delay_ms / 1000, self._settings.retry_after_max_s)
        if said.status in REFUSALS and self._settings.back_off:
            self._refused(host, said.retry_after_ms / 1000, granted, now, by)
        elif said.status not in NO_ANSWER and granted > host.hold_since:
            host.refusals = 0
        if self._settings.adaptive and said.status not in NO_ANSWER:
            self._adapt(host, fetch_s, is_good=said.status == 200)

    def resume(self, name: str) -> bool:
        """Forget what a host has asked for: pauses, refusals and delays. False: nothing was known of it."""
        host = self._hosts.get(name)
        if host is None:
            return False
        host.hold_until, host.refusals, host.crawl_delay_s = -inf, 0, 0.0
        host.adaptive_s = ADAPTIVE_START_S if self._settings.adaptive else 0.0
        if name in self._waited:
            self._to_look_at.append(name)
        return True

    # --- waiting

    def wait_for(self, name: str, now: float) -> None:
        """Await this host: `now_allowed` will name it once when it may be asked."""
        if name not in self._waited:
            self._waited[name] = inf
            self._set_wake(name, self.wait_s(name, now), now)

    def now_allowed(self, now: float, ahead_s: float) -> list[str]:
        """Return the awaited hosts that may be asked within `ahead_s`; they are not awaited any more."""
        if now >= self._clean_at:
            self._clean(now)
        due, self._to_look_at = self._to_look_at, []
        while self._wakes and self._wakes[0][0] <= now + ahead_s:
            at, name = heappop(self._wakes)
            if self._waited.get(name) == at:
                self._waited[name] = inf
                due.append(name)
        free = []
        for name in due:
            if name not in self._waited:
                continue
            wait_s = self.wait_s(name, now)
            if wait_s <= ahead_s:
                del self._waited[name]
                free.append(name)
            else:
                self._set_wake(name, wait_s, now)
        return free

    def next_s(self, now: float) -> float:
        """Return in how many seconds `now_allowed` may return a host; inf: not before a task ends."""
        if self._to_look_at:
            return 0.0
        return max(0.0, self._wakes[0][0] - now) if self._wakes else inf

    # --- looking

    def holding(self, name: str, now: float) -> Holding | None:
        """Return what keeps this host from being asked now; None: nothing."""
        host = self._hosts.get(name)
        if host is None or not (wait_s := host.wait_s(now, self._silent_max)):
            return None
        if host.is_held_silent(now, self._silent_max) and not host.leased >= host.concurrency > 0:
            return Holding("silent", self._silent_max, inf)
        if wait_s == inf:
            return Holding("concurrency", host.concurrency, inf)
        if host.hold_until >= now + wait_s:
            return Holding("back-off", host.hold_until - host.hold_since, host.hold_until, host.told_on)
        return Holding("delay", host.delay_s, now + wait_s)

    def figures(self, name: str) -> HostFigures | None:
        """Return how a host stands; None: nothing limits it, or it has nothing to do."""
        host = self._hosts.get(name)
        if host is None:
            return None
        return HostFigures(name, host.leased, host.concurrency, host.delay_s, host.refusals)

    def names(self) -> list[str]:
        """Return the hosts that have figures; the one asked last stands last."""
        return list(self._hosts)

    @property
    def awaited(self) -> Collection[str]:
        """The hosts that `now_allowed` will name."""
        return self._waited.keys()

    def assert_invariants(self, running: Mapping[str, int]) -> None:
        """Raise AssertionError when a host's count is wrong. running: how many tasks of each host run, where any do."""
        for name in {*running, *self._hosts}:
            host = self._hosts.get(name)
            counted = 0 if host is None else host.leased
            assert counted == running.get(name, 0), f"host {name}: {counted} counted, {running.get(name, 0)} run"

    # --- inside

    def _find_rule(self, name: str) -> HostRule:
        rules = (rule for rule in self._settings.rules if fnmatchcase(name, rule.match.lower()))
        return next(rules, self._usual)

    def _new(self, rule: HostRule, now: float) -> _Host:
        if len(self._hosts) >= HOSTS_MAX:
            self._forget_some(now)
        return _Host(rule, adaptive_s=ADAPTIVE_START_S if self._settings.adaptive else 0.0, since=now)

    def _refused(self, host: _Host, retry_after_s: float, granted: float, now: float, by: tuple[bytes, str]) -> None:
        """Take in a 429 or 503. Answers to tasks granted before the pause began do not count as further refusals.

        What one slave alone says holds for ALONE_S at most, until another one or an answer after the pause confirms it.
        """
        settings = self._settings
        asked_s = min(retry_after_s, settings.retry_after_max_s)
        is_confirmed = bool(host.refusals) and (granted > host.hold_since or by[0] != host.told_by)
        asked_s = asked_s if is_confirmed else min(asked_s, ALONE_S)
        if granted > host.hold_since:
            host.told_by, host.told_on = by
            host.hold_since = now
            host.refusals += 1
            doubled_s = 2.0 ** min(host.refusals - 1, 20)
            host.hold_until = max(host.hold_until, now + (asked_s or min(doubled_s, settings.back_off_max_s)))
        elif asked_s:
            host.hold_until = max(host.hold_until, now + asked_s)

    def _adapt(self, host: _Host, fetch_s: float, *, is_good: bool) -> None:
        """Adapt the delay as Scrapy's AutoThrottle does: towards latency / concurrency, up at once, down by halves and
        by good answers only.
        """
        target_s = fetch_s / self._settings.adaptive_concurrency
        delay_s = min(max(target_s, (host.adaptive_s + target_s) / 2), self._settings.adaptive_max_s)
        if is_good or delay_s > host.adaptive_s:
            host.adaptive_s = delay_s

    def _set_wake(self, name: str, wait_s: float, now: float) -> None:
        """Look at an awaited host at that time, unless it will be looked at before."""
        if now + wait_s < self._waited[name]:
            self._waited[name] = now + wait_s
            heappush(self._wakes, (now + wait_s, name))

    def _clean(self, now: float) -> None:
        self._clean_at = now + CLEAN_S
        for name in [name for name, host in self._hosts.items() if host.is_idle(now)]:
            del self._hosts[name]
        self._wakes = sorted((at, name) for name, at in self._waited.items() if at < inf)  # so it is a heap

    def _forget_some(self, now: float) -> None:
        """Make room: forget hosts without a running task that may be asked, the least recently asked first."""
        idle = [name for name, host in self._hosts.items() if not host.leased and name not in self._waited]
        for name in sorted(idle, key=lambda name: self._hosts[name].wait_s(now) > 0)[: HOSTS_MAX // 20]:
            del self._hosts[name]


def _limits(rule: HostRule) -> bool:
    return bool(rule.concurrency or rule.delay_s)
