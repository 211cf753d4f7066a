"""The verbs that the command line says to the master over the control socket: its administration.

Each verb is a method `_<verb with dots as underscores>(request)`; its arguments are checked here, and what
goes wrong is answered as one line with an exit code, whatever it is.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import structlog

from zspider.broker import messages as m
from zspider.broker.codec import unpack
from zspider.broker.hub import Hub, Peer
from zspider.delivery import MESSAGE_BYTES_MAX, Message
from zspider.errors import ConfigError, ZspiderError
from zspider.roles.master.admin import rows
from zspider.roles.master.admin.add_tasks import read_request, summary
from zspider.roles.master.admin.bulk import BulkVerbs
from zspider.roles.master.admin.request import PAGE_MAX, AdminThreads, Request, shortened
from zspider.roles.master.admin.rows import Live, Pausing, is_removing, removing_row
from zspider.roles.master.auto_delete import Deletions, Waiter
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.writer_thread import WriterThread, now_ms
from zspider.scheduler.internal import entry_follow
from zspider.scheduler.projects import ProjectState
from zspider.scheduler.states import Verb, status_after
from zspider.scheduler.why import Wait, Waiting, why_finished, why_project, why_task
from zspider.settings import MasterFile
from zspider.storage import Committed, TaskDetail
from zspider.task import (
    MESSAGE_PREFIX,
    MESSAGE_URL,
    ON_START,
    Project,
    ProjectStatus,
    Ref,
    Status,
    message_options,
    task_key,
)

log = structlog.get_logger(__name__)
NAME_CHARS_MAX = 64
DROPPED = "dropped:"  # before the reason, in a counter's name
COMMAND = "__command__"  # the sender of a message that no project sent (docs/pyspider-behaviour.md 1.6)


class Admin:
    """Answers AdminRequests."""

    def __init__(
        self,
        coordinator: Coordinator,
        hub: Hub,
        writer: WriterThread,
        threads: AdminThreads,
        deletions: Deletions,
        settings: MasterFile,
    ) -> None:
        """threads: where databases are read and written and scripts compiled. writer: only looked at."""
        self._coordinator = coordinator
        self._hub = hub
        self._writer = writer
        self._threads = threads
        self._deletions = deletions
        self._settings = settings
        self._verbs: dict[str, Callable[[Request], None]] = {
            "status": self._status,
            "project.push": self._push,
            "project.list": self._list,
            "project.show": self._show,
            "project.start": self._start,
            "project.stop": lambda request: self._move(request, Verb.STOP),
            "project.pause": lambda request: self._move(request, Verb.PAUSE),
            "project.resume": lambda request: self._move(request, Verb.RESUME),
            "project.set": self._set,
            "project.rm": self._remove,
            "message.send": self._send_message,
            "tasks": self._tasks,
            "tasks.add": self._add_tasks,
            "task": self._task,
            "results": self._results,
            "why": self._why,
        }
        self._bulk = BulkVerbs(coordinator, threads, lambda request: self._staying(request, "project"))
        self._verbs |= self._bulk.verbs

    def handle(self, peer: Peer, message: m.AdminRequest) -> None:
        """Run one verb; the answer may come in a later turn."""
        request = Request(self._hub, peer, message)
        request.attempt(lambda: self._run(request, message))

    def _run(self, request: Request, message: m.AdminRequest) -> None:
        if message.protocol != m.PROTOCOL:
            raise ConfigError(f"this master speaks protocol {m.PROTOCOL}, the command {message.protocol}")
        if message.verb not in self._verbs:
            raise ConfigError(f"unknown verb {shortened(message.verb)}, known: {', '.join(self._verbs)}")
        args = unpack(message.args)
        if not isinstance(args, dict):
            raise ConfigError(f"{message.verb}: the arguments are no map, but {shortened(args)}")
        request.args = args
        self._verbs[message.verb](request)

    # --- status ---------------------------------------------------------------------------------

    def _status(self, request: Request) -> None:
        """hosts: how many of the busiest are shown, 0 if absent."""
        hosts = min(PAGE_MAX, max(0, request.optional("hosts", int) or 0))
        now = time.monotonic()
        core = self._coordinator.core
        stats = self._coordinator.registry.stats
        slaves = [rows.slave_row(session, stats[session.id], now) for session in core.sessions.values()]
        request.answer(
            {
                "epoch": self._coordinator.epoch,
                "cluster": self._coordinator.cluster.hex(),
                "uptime_s": round(now - self._coordinator.started, 1),
                "database": self._settings.database_shown,
                "database_away": self._writer.is_away,
                "adopting": core.is_adopting(now),
                "rate": round(sum(one["rate"] for one in slaves), 1),
                "slaves": slaves,
                "projects": [self._row(state) for state in core.projects.values()],
                "hosts": [rows.host_row(rate) for rate in self._coordinator.hosts.busiest(hosts, now)] if hosts else [],
            }
        )

    def _row(self, state: ProjectState) -> dict[str, Any]:
        project, core = state.project, self._coordinator.core
        live = Live(
            load_error=core.unloadable(project.id),
            paused=_paused(state),
            last_cron=state.last_cron,
            leased=core.leases.count(project.id),
            is_limited=state.is_limited,
            is_full=self._is_full(project),
            is_finishing=state.is_finishing,
            is_ready=state.frontier.has_ready(now_ms()),
            is_loaded=state.frontier.is_loaded,
            next_due_ms=state.frontier.next_due_ms(),
        )
        return rows.project_row(project, self._coordinator.windows.totals(project.id, now_ms()), live)

    def _is_full(self, project: Project) -> bool:
        """It has as many tasks waiting as it may: new URLs are refused."""
        limit = self._settings.limits.waiting
        return bool(limit) and project.counts.get(Status.ACTIVE.word, 0) >= limit

    # --- projects -------------------------------------------------------------------------------

    def _state(self, request: Request, name: str = "name") -> ProjectState:
        wanted = request.text(name)
        for state in self._coordinator.core.projects.values():
            if state.project.name == wanted:
                return state
        raise ZspiderError(f"no project named {shortened(wanted)}; `zspiderd project list` shows all")

    def _staying(self, request: Request, name: str = "name") -> ProjectState:
        """The same for what changes a project. Raises ZspiderError for one that is going, too."""
        state = self._state(request, name)
        _check_stays(state.project)
        return state

    def _list(self, request: Request) -> None:
        request.answer({"rows": [self._row(state) for state in self._coordinator.core.projects.values()]})

    def _show(self, request: Request) -> None:
        state = self._state(request)
        self._threads.write(  # not the reader, which is slow while somebody exports
            request,
            lambda storage: storage.script(state.project.script),
            lambda text: request.answer({**self._row(state), "script": text}),
        )

    def _push(self, request: Request) -> None:
        name, text = request.text("name"), request.text("script")
        if len(name) > NAME_CHARS_MAX or not name.isascii() or not name.replace("_", "a").isalnum():
            raise ConfigError(f"project name {shortened(name)}: 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 _ are allowed")
        changes = self._changes(request)
        is_edit = request.flag("edit")  # it was saved in an editor
        self._threads.compile(request, name, text, lambda: self._store(request, name, text, changes, is_edit))

    def _store(self, request: Request, name: str, text: str, changes: dict[str, Any], is_edit: bool) -> None:
        """Write a script that compiles."""
        projects = (state.project for state in self._coordinator.core.projects.values())
        known = next((project for project in projects if project.name == name), None)
        if known is None:
            changes.setdefault("status", ProjectStatus.TODO if is_edit else ProjectStatus.RUNNING)
        else:
            _check_stays(known)
            if is_edit:
                changes["known_status"] = status_after(known, Verb.EDIT)

        def done(project: Project) -> None:
            self._coordinator.set_project(project)
            log.info("project_pushed", project=name, script=project.script.hex()[:12], created=known is None)
            request.answer({**self._row(self._coordinator.core.projects[project.id]), "created": known is None})

        self._threads.write(request, lambda storage: storage.push(name, text, now_ms=now_ms(), **changes), done)

    def _changes(self, request: Request) -> dict[str, Any]:
        """The settings of a project that the request names, checked."""
        changes: dict[str, Any] = {}
        if (status := request.optional("status", str)) is not None:
            if status not in ProjectStatus.__members__:
                raise ConfigError(
                    f"status {shortened(status)}: one of {', '.join(ProjectStatus.__members__)} is allowed"
                )
            changes["status"] = ProjectStatus(status)
        for name in ("rate", "burst"):
            if (value := request.optional(name, (int, float))) is not None:
                if not 0 <= value <= 1_000_000:
                    raise ConfigError(f"{name} {value!r}: 0 to 1,000,000 is allowed")
                changes[name] = float(value)
        if (group := request.optional("group", str)) is not None:
            if len(group) > NAME_CHARS_MAX:
                raise ConfigError(f"group: at most {NAME_CHARS_MAX} characters")
            changes["group"] = group
        return changes

    def _change(self, request: Request, state: ProjectState, changes: dict[str, Any]) -> None:
        """Write the changes, tell the core, and answer with the project's row."""
        project = state.project

        def done(changed: Project) -> None:
            self._coordinator.set_project(changed)
            if "status" in changes:  # whoever names one wants it to be so, also if it was
                self._coordinator.core.unpause(project.id)
            request.answer(self._row(self._coordinator.core.projects[project.id]))

        self._threads.write(request, lambda storage: storage.set_project(project.id, now_ms=now_ms(), **changes), done)

    def _set(self, request: Request) -> None:
        changes = self._changes(request)
        if not changes:
            raise ConfigError("nothing to set: give status, rate, burst or group")
        self._change(request, self._staying(request), changes)

    def _move(self, request: Request, verb: Verb) -> None:
        """Another status, if the verb leads from the one that is."""
        state = self._staying(request)
        self._change(request, state, {"status": status_after(state.project, verb)})

    def _start(self, request: Request) -> None:
        """RUNNING, and on_start now: both or neither."""
        project = self._staying(request).project
        status = status_after(project, Verb.START)
        follow = entry_follow(ON_START)

        def done(written: tuple[Committed, Project]) -> None:
            report, started = written
            self._coordinator.apply(report)
            self._coordinator.set_project(started)
            self._coordinator.core.unpause(project.id)
            request.answer(self._row(self._coordinator.core.projects[project.id]))

        self._threads.write(request, lambda storage: storage.start(project.id, status, follow, now_ms()), done)

    def _send_message(self, request: Request) -> None:
        """A message to a project; it is accepted when the answer comes."""
        project = self._staying(request, "project").project
        body = msgpack.packb(message_options(COMMAND, request.args.get("message")))
        if len(body) > MESSAGE_BYTES_MAX:
            raise ConfigError(f"a message of {len(body)} bytes, the limit is {MESSAGE_BYTES_MAX}")
        follow = Message(project.name, MESSAGE_URL, body).as_follow(MESSAGE_PREFIX + secrets.token_hex(16))

        def done(report: Committed) -> None:
            self._coordinator.apply(report)
            request.answer({"project": project.name, "status": project.status.value})

        self._threads.write(request, lambda storage: storage.submit(project.id, [follow], now_ms()), done)

    def _add_tasks(self, request: Request) -> None:
        """Some URLs for a project; they are accepted when the answer comes."""
        adding, project = read_request(request.args), self._staying(request, "project").project

        def done(report: Committed) -> None:
            self._coordinator.apply(report)
            request.answer(summary(adding, report))

        self._threads.write(request, lambda storage: storage.submit(project.id, adding.follows(), now_ms()), done)

    def _remove(self, request: Request) -> None:
        """STOP it and begin to delete it; answered after a batch of rows, and the master goes on with the rest.

        again: the command asked before; if the project is gone, it is done.
        """
        is_again, keep = request.flag("again"), request.flag("keep_results")
        if is_again and request.text("name") not in (
            one.project.name for one in self._coordinator.core.projects.values()
        ):
            request.answer({"left": 0})
            return
        project = self._state(request).project
        self._bulk.jobs.check_idle(project, time.monotonic())
        status_after(project, Verb.REMOVE)
        told = Waiter(lambda left: request.attempt(lambda: request.answer({"left": left})), request.fail)
        self._deletions.remove(project, told, keep_results=keep)

    # --- reads ----------------------------------------------------------------------------------

    def _tasks(self, request: Request) -> None:
        project, after, limit = self._state(request, "project").project, _after(request), request.limit()
        word = request.optional("status", str)
        statuses = {status.word: status for status in Status}
        if word is not None and word not in statuses:
            raise ConfigError(f"status {shortened(word)}: one of {', '.join(statuses)} is allowed")
        status = statuses[word] if word else None
        self._threads.read(
            request,
            lambda reader: reader.tasks(project.id, status, after, limit),
            lambda found: request.answer(rows.page(found, rows.task_row)),
        )

    def _task(self, request: Request) -> None:
        project, taskid = self._state(request, "project").project, request.text("taskid")

        def done(task: TaskDetail | None) -> None:
            if task is None:
                raise ZspiderError(f"no task {shortened(taskid)} in project {project.name!r}")
            lease = self._coordinator.core.leases.get(Ref(project.id, task_key(taskid)))
            request.answer(rows.task_detail(task, lease.session.host if lease else None))

        self._threads.read(request, lambda reader: reader.task(project.id, taskid), done)

    def _why(self, request: Request) -> None:
        """taskid: of one task; the answer is for the whole project if it is absent."""
        state, taskid = self._state(request, "project"), request.optional("taskid", str)
        dropped = {
            name.removeprefix(DROPPED): value
            for name, value in sorted(state.project.counts.items())
            if name.startswith(DROPPED) and value
        }
        if not taskid:
            waits = why_project(self._coordinator.core, state, time.monotonic(), now_ms())
            request.answer({"waits": self._waits(waits, state.project), "dropped": dropped})
            return

        def done(task: TaskDetail | None) -> None:
            if task is None:
                raise ZspiderError(f"no task {shortened(taskid)} in project {state.project.name!r}")
            if task.status is not Status.ACTIVE:
                request.answer({"waits": rows.wait_rows(why_finished(task.status, task.reason)), "dropped": {}})
            else:
                waiting = Waiting(Ref(state.project.id, task.key), task.url, task.retried, task.due_ms)
                waits = why_task(self._coordinator.core, state, waiting, time.monotonic(), now_ms())
                request.answer({"waits": self._waits(waits, state.project), "dropped": {}})

        self._threads.read(request, lambda reader: reader.task(state.project.id, taskid), done)

    def _waits(self, waits: Sequence[Wait], project: Project) -> list[dict[str, Any]]:
        """With what is not the core's: a database that is away or behind holds up everything, and a project may go."""
        slow = []
        if (removing := removing_row(project)) is not None:
            slow.append(Wait("removing", f"the project is being removed: {removing['left']:,} rows are left"))
        if self._writer.is_away:
            slow.append(Wait("database", "the database is away; it is tried again every few seconds"))
        elif self._coordinator.is_full:
            slow.append(Wait("database", f"the database is behind: {self._writer.backlog} outcomes wait for it"))
        return rows.wait_rows([*slow, *waits])

    def _results(self, request: Request) -> None:
        project, after, limit = self._state(request, "project").project, _after(request), request.limit()
        self._threads.read(
            request,
            lambda reader: reader.results(project.id, after, limit),
            lambda found: request.answer(rows.page(found, rows.result_row)),
        )


def _after(request: Request) -> bytes:
    return bytes(request.optional("after", bytes) or b"")


def _check_stays(project: Project) -> None:
    """Raise ZspiderError for a project that is being removed."""
    if is_removing(project):
        raise ZspiderError(
            f"{project.name} is being removed: nothing of it can be changed; a new project may have its name afterwards"
        )


def _paused(state: ProjectState) -> Pausing | None:
    """An auto-pause: why, until when, and whether the project is probed meanwhile."""
    pause = state.pause
    if not pause.is_on:
        return None
    until_ms = now_ms() + int(1000 * (pause.until - time.monotonic()))
    return Pausing(pause.phase, pause.reason, until_ms)
