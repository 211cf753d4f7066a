"""The obstacles that a project, or one of its tasks, waits for: the core's decisions in words. It changes nothing."""

from collections.abc import Collection, Iterable
from math import inf
from typing import NamedTuple

from zspider.hosts import host_hash, host_of
from zspider.scheduler.core import Core
from zspider.scheduler.hosts import Holding
from zspider.scheduler.leases import Lease, Session
from zspider.scheduler.pause import Phase
from zspider.scheduler.projects import ProjectState
from zspider.task import ProjectStatus, Ref, Status

HOSTS_SHOWN = 5
SLAVES_SHOWN = 5
ROLES = ("fetcher", "processor")


class Wait(NamedTuple):
    """One thing that is waited for."""

    what: str  # a word for programs
    text: str  # a sentence for people
    until_ms: int | None = None  # wall-clock milliseconds when that is over, if it is known


class TaskToExplain(NamedTuple):
    """A task that waits, as the database has it."""

    ref: Ref
    url: str
    retried: int
    due_ms: int


def why_project(core: Core, state: ProjectState, now: float, now_ms: int) -> list[Wait]:
    """Return what holds a project back, the first obstacle first; never empty.

    An obstacle that stops all pages hides the lesser ones.
    """
    stop = _stop(core, state, now, now_ms)
    if stop is not None:
        complaints = _complaints(core, core.leases.of_project(state.project.id))
        return [stop, *(one for one in complaints if one != stop), *_leased(core, state)]
    waits = [*_rate(state, now, now_ms), *_room(core), *_hosts(core, state, now, now_ms)]
    waits += [] if _nobody_has_room(core) else _complaints(core, core.leases.of_project(state.project.id))
    waits += [*_leased(core, state), *_later(state, now_ms)]
    return waits or [_nothing(state)]


def why_task(core: Core, state: ProjectState, task: TaskToExplain, now: float, now_ms: int) -> list[Wait]:
    """Return what a task waits for that is to be done; never empty."""
    lease = core.leases.get(task.ref)
    if lease is not None:
        where = "its outcome is being committed" if lease.has_arrived else f"a slave on {lease.session.host} has it"
        leased = [Wait("leased", f"{where}, since {now - lease.granted:.1f} s")]
        if lease.is_replaced:
            leased.append(Wait("again", "it was submitted again meanwhile: it runs once more when that run has ended"))
        return [*leased, *(() if lease.has_arrived else _complaints(core, [lease]))]
    if task.due_ms > now_ms:
        if task.retried:
            return [Wait("retry", f"it failed and is tried again, for the {_nth(task.retried)} time", task.due_ms)]
        return [Wait("exetime", "its time has not come", task.due_ms)]
    stop = _stop(core, state, now, now_ms)
    if stop is not None:
        return [stop]
    name = host_of(task.url)
    holding = core.hosts.holding(name, now) if name else None
    waits = [*([_host(name, holding, now, now_ms)] if holding else []), *_rate(state, now, now_ms), *_room(core)]
    if state.frontier.get(task.ref) is None:
        waits.append(Wait("turn", "others come before it: higher priority, or here longer"))
    return waits or [Wait("turn", "it is granted next, or soon")]


def why_finished(status: Status, reason: str, lease: Lease | None = None) -> list[Wait]:
    """Return the answer for a task that is not to be done. lease: on a run of it, if there is one: it was cancelled."""
    nothing = Wait("nothing", f"already {status.word}" + (f": {reason}" if reason else ""))
    if lease is None:
        return [nothing]
    return [nothing, Wait("leased", f"a slave on {lease.session.host} still has it: that run ends, and counts")]


# --- what stops all pages ---------------------------------------------------------------------------


def _stop(core: Core, state: ProjectState, now: float, now_ms: int) -> Wait | None:
    project = state.project
    if project.status is ProjectStatus.PAUSED:
        return Wait("paused", f"paused by hand: `zspiderd project resume {project.name}`")
    if not state.is_active:
        return Wait("stopped", f"its status is {project.status}: `zspiderd project start {project.name}`")
    if core.is_adopting(now):
        return Wait("restart", "waiting for slaves that were connected before the restart")
    if (no_slave := _no_slave(core)) is not None:
        return no_slave
    if error := core.scripts.why_unloadable(project.id):
        failure = state.load_failure
        until_ms = None if failure.until == inf else now_ms + int(1000 * (failure.until - now))
        return Wait(
            "script", f"its script cannot be used: {error}, on {failure.host}; it is tried again then", until_ms
        )
    if project.info is not None and (error := project.info.error):
        return Wait("script", f"its script cannot be used: {error}")
    if project.info is None:
        return Wait("script info", "a slave is being asked what its script declares")
    pause = state.pause
    if pause.phase is Phase.PAUSED:
        return Wait("auto-pause", f"paused by itself: {pause.reason}", now_ms + int(1000 * (pause.until - now)))
    if pause.phase is Phase.PROBING and not pause.allows(core.leases):
        return Wait("auto-pause", f"paused by itself ({pause.reason}): the outcome of a few pages decides")
    return None


def _no_slave(core: Core) -> Wait | None:
    sessions = core.sessions.values()
    if not sessions:
        return Wait("no slave", "no slave is connected")
    if all(session.is_silent for session in sessions):
        return Wait("no slave", f"all {len(sessions)} slaves are silent")
    for role in ROLES:
        if not any(role in session.roles for session in sessions if not session.is_silent):
            return Wait("no slave", f"no slave with the role {role} is connected")
    for role in ROLES:
        able = [session for session in sessions if role in session.roles and not session.is_silent]
        if all(session.complaint for session in able):
            return _complaint(_complaining(able)[0])
    return None


# --- what holds pages back --------------------------------------------------------------------------


def _rate(state: ProjectState, now: float, now_ms: int) -> list[Wait]:
    if not state.is_limited:
        return []
    project, token_s = state.project, state.bucket.wait_s(now)
    text = f"its rate is {project.rate:g}/s with burst {project.burst:g}"
    if token_s is None:
        return [Wait("rate", f"{text}: it never gets a task")]
    return [Wait("rate", text, now_ms + int(1000 * token_s))]


def _room(core: Core) -> list[Wait]:
    """Return why no slave takes more; complaints of slaves come first."""
    if not _nobody_has_room(core):
        return []
    sessions = core.sessions.values()
    busy = [session for session in sessions if not session.complaint and "fetcher" in session.roles]
    held = sum(len(session.leases) for session in busy)
    text = f"the slaves have as many tasks as they take: {held}"
    return [*map(_complaint, _complaining(sessions)), *([Wait("slaves busy", text)] if busy else [])]


def _nobody_has_room(core: Core) -> bool:
    return not any(session.room > 0 for session in core.sessions.values())


def _complaints(core: Core, leases: Collection[Lease]) -> list[Wait]:
    """Return the complaints of the slaves that have these leases, or their pages."""
    ids = {lease.session.id for lease in leases} | {
        lease.processed_by for lease in leases if lease.processed_by is not None
    }
    return [*map(_complaint, _complaining(core.sessions[one] for one in ids if one in core.sessions))]


def _complaining(sessions: Iterable[Session]) -> list[Session]:
    found = sorted((one for one in sessions if one.complaint), key=lambda session: (session.host, session.id))
    return found[:SLAVES_SHOWN]


def _complaint(session: Session) -> Wait:
    return Wait("slave", f"slave {session.id.hex()[:8]} on {session.host} {session.complaint}")


def _hosts(core: Core, state: ProjectState, now: float, now_ms: int) -> list[Wait]:
    """Return the hosts of deferred tasks that may not be asked now."""
    deferred = set(state.frontier.deferred.hosts)
    waits: list[Wait] = []
    for name in core.hosts.names() if deferred else ():
        if host_hash(name) in deferred and (holding := core.hosts.holding(name, now)) is not None:
            waits.append(_host(name, holding, now, now_ms))
            if len(waits) == HOSTS_SHOWN:
                break
    return waits


def _host(name: str, holding: Holding, now: float, now_ms: int) -> Wait:
    match holding.reason:
        case "concurrency":
            text = f"{name} has as many requests as it may have at once: {holding.limit:g}"
        case "silent":
            text = f"{name} does not answer: {holding.limit:g} requests to it are out, which is its share"
        case "delay":
            text = f"{name} is asked every {holding.limit:g} s"
        case _:
            by = f", says a slave on {holding.by}; `zspiderd hosts resume {name}` ends it" if holding.by else ""
            text = f"{name} has asked to be left alone for {holding.limit:g} s{by}"
    return Wait("host", text, None if holding.until == inf else now_ms + int(1000 * (holding.until - now)))


def _leased(core: Core, state: ProjectState) -> list[Wait]:
    leased = core.leases.count(state.project.id)
    return [Wait("leased", f"slaves have {leased} of its tasks")] if leased else []


def _later(state: ProjectState, now_ms: int) -> list[Wait]:
    frontier = state.frontier
    if not (frontier.is_loaded or frontier.has_deferred) and frontier.peek(now_ms) is None:
        return [Wait("database", "waiting tasks are being read from the database")]
    due_ms = frontier.next_due_ms()
    if due_ms is None or due_ms <= now_ms:
        return []
    return [Wait("later", "the other tasks wait for a retry or recrawl; the first is due then", due_ms)]


def _nothing(state: ProjectState) -> Wait:
    if state.project.counts.get(Status.ACTIVE.word, 0):
        return Wait("turn", "its tasks are being granted")
    if state.is_finishing:
        return Wait("finishing", "all is done; on_finished is being called")
    return Wait("nothing", "no task of it waits")


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
