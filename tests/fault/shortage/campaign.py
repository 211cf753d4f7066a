"""Each place where a daemon of a living cluster calls the system, made to fail with each error that it can have."""

import errno
import time
from collections.abc import Iterable
from typing import NamedTuple

from tests.fault.shortage.world import EVENTS, World
from tests.support.shortage import ERRORS, Place
from zspider.errors import ZspiderError

RUN = 3  # calls in a row that fail: what is tried again at once fails again
HIT_S = 6.0  # after the event, for the place to be passed
# libzmq 4.3.5 ends its process by an assertion when one of these calls fails for want of memory (or, for the last two,
# of a descriptor or a thread), whatever its user does.
ASSERTED = frozenset({"poll", "send", "recv", "epoll_ctl", "epoll_create", "pthread_create"})


class Trial(NamedTuple):
    """One place of one daemon, and the error that it is to have. event: what makes the daemon pass it."""

    victim: str
    place: Place
    error: int
    event: str


class Told(NamedTuple):
    """What happened."""

    trial: Trial
    failed: int  # calls; 0: the place was not passed
    said: str  # the first warning or error that was logged meanwhile
    seconds: float  # from the end of the shortage to the next result
    ended: list[str]  # daemons that ended

    def row(self) -> str:
        """A line of the table."""
        name = errno.errorcode[self.trial.error]
        place = self.trial.place
        if self.ended:
            what = f"ENDED {'; '.join(self.ended)}"
        elif not self.failed:
            what = "not passed"
        else:
            what = f"{self.said or 'nothing was said'}; {self.seconds:.1f} s"
        return f"{self.trial.victim:6} {place.call:14} {name:7} {place.where:70} {what[:1500]}"


def places(world: World, events: Iterable[str] = EVENTS) -> list[Trial]:
    """All places that the events lead to, each with the event that did so first, and with each of its errors."""
    trials: dict[tuple[str, int], list[Trial]] = {}
    for name in events:
        before = {victim: one.counts() for victim, one in world.victims.items()}
        with world.victims["master"].recording(), world.victims["slave"].recording():
            EVENTS[name](world)
            time.sleep(0.5)
        for victim, one in world.victims.items():
            for place, count in one.counts().items():
                if place.call == "arena":  # anywhere in Python: see `memory`
                    continue
                if count > before[victim].get(place, 0) and (victim, place.key) not in trials:
                    errors = ERRORS[place.call]
                    trials[victim, place.key] = [Trial(victim, place, error, name) for error in errors]
    return [trial for group in trials.values() for trial in group]


def is_asserted(trial: Trial) -> bool:
    """Whether libzmq ends its process when this call fails so."""
    if trial.place.caller.startswith("libsodium"):  # where libzmq gets the memory of its keys
        return trial.place.call == "mmap"
    if not trial.place.caller.startswith("libzmq"):
        return False
    return trial.place.call in ASSERTED or (trial.place.call == "eventfd" and trial.error == errno.ENOMEM)


def one_each(trials: Iterable[Trial]) -> list[Trial]:
    """A part of them: each place of each daemon once, with errors in turn."""
    chosen: dict[tuple[str, int], Trial] = {}
    turn: dict[str, int] = {}
    grouped: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        grouped.setdefault((trial.victim, trial.place.key), []).append(trial)
    for key, group in grouped.items():
        call = group[0].place.call
        turn[call] = turn.get(call, -1) + 1
        chosen[key] = group[turn[call] % len(group)]
    return list(chosen.values())


def quick(trials: Iterable[Trial]) -> list[Trial]:
    """One place for each call of each daemon, by whatever library, and all that start a processor."""
    chosen: dict[tuple[str, ...], Trial] = {}
    for trial in one_each(trials):
        place = trial.place
        is_own = trial.victim == "slave" and any(part in place.ours for part in ("processors", "child_process"))
        own = place.ours if is_own else ""
        chosen.setdefault((trial.victim, place.call, place.caller, own), trial)
    return list(chosen.values())


def attempt(world: World, trial: Trial) -> Told:
    """Make the place fail while the event happens, and see how the cluster goes on."""
    if EVENTS[trial.event] is World.kill_local_slave:
        world.renew_master()
    victim = world.victims[trial.victim]
    logs = [daemon.process for daemon in (world.master, world.slave)]
    before = [len(process.lines) for process in logs]
    with victim.failing(trial.error, place=trial.place, most=RUN):
        try:
            EVENTS[trial.event](world)
            end = time.monotonic() + HIT_S
            while not victim.failed and victim.is_alive and time.monotonic() < end:
                time.sleep(0.05)
        except Exception:  # the event needs who has ended just now
            if victim.is_alive:
                raise
    failed = victim.failed
    ended = len(world.ended)
    seconds = 0.0
    try:
        seconds = world.wait_progress("pages again")
    except (AssertionError, ZspiderError) as exc:
        if victim.is_alive:
            tail = world.daemon(trial.victim).process.tail(8)
            world.restart(trial.victim)
            return Told(trial, failed, "", 0.0, [f"{trial.victim} does not recover: {exc}\n{tail}"])
    said = [
        line
        for process, length in zip(logs, before, strict=True)
        for line in process.lines[length:]
        if " warning " in line or " error " in line
    ]
    world.revive()
    if len(world.ended) > ended:
        world.wait_progress(f"pages again after {trial} has ended a daemon")
    return Told(trial, failed, said[0].split(" ", 2)[2] if said else "", seconds, world.ended[ended:])
