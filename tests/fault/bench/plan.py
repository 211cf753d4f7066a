"""What is done to a crawl, and when: all of it follows from a number, the seed.

Pure. Eight seeds in a row (from a multiple of eight) have every kind of fault between them.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

BLOCK = 8  # so many seeds share the kinds out among them
FIRST_S, LAST_S = 0.5, 8.0  # when faults begin, in seconds of the crawl
GAP_S = 0.4  # between two faults of one target
EXTRA_MAX = 1  # faults beside those that the block deals to a seed
PLACING_TRIES = 100  # then it comes after the others

# The timing of the masters: what a fault sets going shall be over within seconds.
TIMING = {"heartbeat_s": 0.2, "suspect_s": 0.6, "quiet_s": 2.0, "lease_s": 3.0, "rebuild_s": 1.0, "adopt_s": 5.0}
SLAVES = ("slave1", "slave2")


class Kind(StrEnum):
    """Every fault there is."""

    KILL_MASTER = "kill-master"
    RESTART_MASTER = "restart-master"
    STOP_MASTER = "stop-master"
    KILL_SLAVE = "kill-slave"
    RESTART_SLAVE = "restart-slave"
    STOP_SLAVE = "stop-slave"  # with its processors, for less than a lease
    SUSPEND_SLAVE = "suspend-slave"  # the same for longer than a lease: a machine that slept
    CLONE_SLAVE = "clone-slave"  # a third one, started from the files of the first
    OLD_SLAVE = "old-slave"  # of the version before
    KILL_PROCESSOR = "kill-processor"
    STOP_PROCESSOR = "stop-processor"
    KILL_DATABASE = "kill-database"
    STOP_DATABASE = "stop-database"
    SLOW_DATABASE = "slow-database"
    LOCK_ROWS = "lock-rows"
    DEADLOCKS = "deadlocks"
    END_CONNECTIONS = "end-connections"  # to the database
    CUT = "cut"  # the network between a slave and its master
    CUT_TO_SLAVE = "cut-to-slave"
    CUT_FROM_SLAVE = "cut-from-slave"
    DROP_OUTCOMES = "drop-outcomes"  # one port of the master alone, as a slave reaches it: packets vanish ...
    RESET_OUTCOMES = "reset-outcomes"  # ... or are answered with resets
    FORGET_OUTCOMES = "forget-outcomes"  # a router forgets the connection that stands
    DROP_PAGES = "drop-pages"  # the two ports of relayed pages
    RESET_PAGES = "reset-pages"
    LOSS = "loss"
    SLOW_LINK = "slow-link"
    DELAY = "delay"
    RESETS = "resets"  # in the middle of a frame
    FULL_DISK = "full-disk"
    FULL_TEMP = "full-temp"
    CLOCK_JUMP = "clock-jump"
    FEW_DESCRIPTORS_MASTER = "few-descriptors-master"
    FEW_DESCRIPTORS_SLAVE = "few-descriptors-slave"  # and its processors are killed meanwhile
    TINY_CHUNKS = "tiny-chunks"  # beside the crawl: pages without end, in chunks of one byte
    HUGE_OUTCOMES = "huge-outcomes"  # beside the crawl: pages that submit many thousands of URLs each
    CHANGED_SCRIPT = "changed-script"  # that cannot be loaded at each slave's first try


class Rule(NamedTuple):
    """Where and how strongly a kind of fault strikes."""

    targets: tuple[str, ...]
    lasts_s: tuple[float, float]
    amount: tuple[float, float] = (0.0, 0.0)  # see how `faults` uses it
    database: str = ""  # the only one that it is for
    may_refetch: bool = False  # what the struck slave held may be fetched again


WAYS_S = (3.0, 24.0)  # some so long that the slave must say so
MASTER, DATABASE, PROXIED = ("master",), ("database",), ("slave2",)
RULES = {
    Kind.KILL_MASTER: Rule(MASTER, (0.0, 2.0)),
    Kind.RESTART_MASTER: Rule(MASTER, (0.0, 1.0)),
    Kind.STOP_MASTER: Rule(MASTER, (0.3, 5.0)),
    Kind.KILL_SLAVE: Rule(SLAVES, (0.0, 2.0), may_refetch=True),
    Kind.RESTART_SLAVE: Rule(SLAVES, (0.0, 2.0)),
    Kind.STOP_SLAVE: Rule(SLAVES, (0.2, 1.5)),
    Kind.SUSPEND_SLAVE: Rule(SLAVES, (4.0, 6.0), may_refetch=True),
    Kind.CLONE_SLAVE: Rule(("slave3",), (0.0, 0.0)),
    Kind.OLD_SLAVE: Rule(MASTER, (3.0, 3.0)),
    Kind.KILL_PROCESSOR: Rule(SLAVES, (0.0, 0.0)),
    Kind.STOP_PROCESSOR: Rule(SLAVES, (0.3, 2.0)),
    Kind.KILL_DATABASE: Rule(DATABASE, (0.1, 3.0), database="mariadb"),
    Kind.STOP_DATABASE: Rule(DATABASE, (0.3, 4.0), database="mariadb"),
    Kind.SLOW_DATABASE: Rule(DATABASE, (2.0, 4.0), database="mariadb"),
    Kind.LOCK_ROWS: Rule(DATABASE, (0.3, 7.0)),  # a lock is waited for 5 s
    Kind.DEADLOCKS: Rule(DATABASE, (1.0, 4.0), database="mariadb"),
    Kind.END_CONNECTIONS: Rule(DATABASE, (0.0, 0.0), database="mariadb"),
    Kind.CUT: Rule(SLAVES, (0.5, 6.0), may_refetch=True),
    Kind.CUT_TO_SLAVE: Rule(SLAVES, (0.5, 6.0), may_refetch=True),
    Kind.CUT_FROM_SLAVE: Rule(SLAVES, (0.5, 6.0), may_refetch=True),
    Kind.DROP_OUTCOMES: Rule(SLAVES, WAYS_S, may_refetch=True),
    Kind.RESET_OUTCOMES: Rule(SLAVES, WAYS_S, may_refetch=True),
    Kind.FORGET_OUTCOMES: Rule(SLAVES, (1.0, 20.0)),
    Kind.DROP_PAGES: Rule(SLAVES, WAYS_S, may_refetch=True),
    Kind.RESET_PAGES: Rule(SLAVES, WAYS_S, may_refetch=True),
    Kind.LOSS: Rule(SLAVES, (1.0, 4.0), (0.05, 0.3), may_refetch=True),  # share of the packets
    Kind.SLOW_LINK: Rule(SLAVES, (1.0, 4.0), (64.0, 512.0), may_refetch=True),  # kbit/s
    Kind.DELAY: Rule(PROXIED, (1.0, 4.0)),
    Kind.RESETS: Rule(PROXIED, (0.5, 3.0), (0.3, 1.0)),  # seconds between two
    Kind.FULL_DISK: Rule(MASTER, (0.5, 4.0), database="sqlite"),
    Kind.FULL_TEMP: Rule(SLAVES, (0.5, 4.0)),
    Kind.CLOCK_JUMP: Rule(MASTER, (0.0, 0.0), (-7200.0, 86400.0 * 365)),  # seconds; one of the two
    Kind.FEW_DESCRIPTORS_MASTER: Rule(MASTER, (0.5, 4.0)),
    Kind.FEW_DESCRIPTORS_SLAVE: Rule(SLAVES, (0.5, 4.0), may_refetch=True),  # it gives back what it cannot process
    Kind.TINY_CHUNKS: Rule(("site",), (2.0, 6.0)),
    Kind.HUGE_OUTCOMES: Rule(("sitemap",), (0.5, 3.0)),
    Kind.CHANGED_SCRIPT: Rule(("script",), (0.0, 0.0)),
}
EITHER = (Kind.CLOCK_JUMP,)  # their amount is one end of the range, not between


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what, to whom, from when to when in seconds of the crawl."""

    kind: Kind
    target: str
    at_s: float
    lasts_s: float
    amount: float

    def __str__(self) -> str:
        amount = f" {self.amount:g}" if self.amount else ""
        return f"{self.at_s:5.2f} s  {self.kind}{amount} {self.target} for {self.lasts_s:.2f} s"

    @property
    def may_refetch(self) -> bool:
        return RULES[self.kind].may_refetch


@dataclass(frozen=True, slots=True)
class Plan:
    """A history before it happens."""

    seed: int
    database: str
    is_split: bool  # the first slave fetches, the second one processes
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        shape = "a fetching and a processing slave" if self.is_split else "two slaves"
        return "\n".join([f"seed {self.seed}: {self.database}, {shape}", *(f"  {one}" for one in self.faults)])


def plan(seed: int) -> Plan:
    """The plan of a seed, the same each time."""
    chance = random.Random(seed)
    place = seed % BLOCK
    database = _database(place)
    kinds = _dealt(seed // BLOCK)[place]
    fitting = [kind for kind, rule in RULES.items() if rule.database in ("", database)]
    kinds += [chance.choice(fitting) for _ in range(chance.randint(0, EXTRA_MAX))]
    faults = sorted(_placed(kinds, chance), key=lambda fault: fault.at_s)
    return Plan(seed, database, chance.random() < 0.3, tuple(faults))


def _database(place: int) -> str:
    return "mariadb" if place % 2 else "sqlite"


def _dealt(block: int) -> list[list[Kind]]:
    """The kinds of each place of a block: all of them, to as equal parts as the databases allow."""
    kinds = list(Kind)
    random.Random(f"block {block}").shuffle(kinds)
    kinds.sort(key=lambda kind: RULES[kind].database == "")  # those that fit everywhere fill up
    hands: list[list[Kind]] = [[] for _ in range(BLOCK)]
    for kind in kinds:
        wanted = RULES[kind].database
        fitting = [hand for place, hand in enumerate(hands) if wanted in ("", _database(place))]
        min(fitting, key=len).append(kind)
    return hands


def _placed(kinds: list[Kind], chance: random.Random) -> list[Fault]:
    """Faults of these kinds, of which no two strike one target at a time."""
    placed: list[Fault] = []
    for kind in kinds:
        drawn = (_drawn(kind, chance) for _ in range(PLACING_TRIES))
        fault = next((one for one in drawn if not any(_meet(one, other) for other in placed)), None)
        placed.append(fault or _after(_drawn(kind, chance), placed))
    return placed


def _after(fault: Fault, placed: list[Fault]) -> Fault:
    """The same when all others of its target are over."""
    over_s = max(one.at_s + one.lasts_s for one in placed if one.target == fault.target)
    return replace(fault, at_s=round(over_s + 2 * GAP_S, 2))


def _drawn(kind: Kind, chance: random.Random) -> Fault:
    rule = RULES[kind]
    amount = chance.choice(rule.amount) if kind in EITHER else chance.uniform(*rule.amount)
    times = chance.uniform(FIRST_S, LAST_S), chance.uniform(*rule.lasts_s)
    return Fault(kind, chance.choice(rule.targets), *(round(time, 2) for time in times), round(amount, 2))


def _meet(one: Fault, other: Fault) -> bool:
    if one.target != other.target:
        return False
    return one.at_s < other.at_s + other.lasts_s + GAP_S and other.at_s < one.at_s + one.lasts_s + GAP_S
