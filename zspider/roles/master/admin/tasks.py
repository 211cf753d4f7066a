"""The verbs on a project's tasks: shown, added, sent as messages, and why they wait; and its results."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from zspider.delivery import MESSAGE_BYTES_MAX, Follow, Message
from zspider.errors import ConfigError, ZspiderError
from zspider.roles.machine.clock import Clock
from zspider.roles.master.admin import rows
from zspider.roles.master.admin.add_tasks import read_request, summary
from zspider.roles.master.admin.lookup import find_project, find_staying_project
from zspider.roles.master.admin.request import Request, shortened
from zspider.roles.master.admin.threads import AdminThreads
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.writer_thread import WriterThread
from zspider.scheduler.projects import ProjectState
from zspider.scheduler.why import TaskToExplain, Wait, why_finished, why_project, why_task
from zspider.storage import Committed, TaskDetail
from zspider.task import MESSAGE_PREFIX, MESSAGE_URL, Project, Ref, Status, message_options

DROPPED = "dropped:"  # before the reason, in a counter's name
COMMAND = "__command__"  # the sender of a message that no project sent (docs/pyspider-behaviour.md 1.6)


class TaskVerbs:
    """Answers the verbs that show tasks or results, and those that submit tasks."""

    def __init__(self, coordinator: Coordinator, writer: WriterThread, threads: AdminThreads, clock: Clock) -> None:
        """writer: asked how far the database is behind; verbs write through `threads`."""
        self._coordinator = coordinator
        self._core = coordinator.core
        self._writer = writer
        self._threads = threads
        self._clock = clock

    # --- submitted ------------------------------------------------------------------------------

    def send_message(self, request: Request) -> None:
        """Submit a message to a project; it is accepted when the answer comes."""
        project = find_staying_project(self._core, request).project
        body = msgpack.packb(message_options(COMMAND, request.args.get("message")))
        if len(body) > MESSAGE_BYTES_MAX:
            raise ConfigError(f"a message of {len(body)} bytes, the limit is {MESSAGE_BYTES_MAX}")
        follow = Message(project.name, MESSAGE_URL, body).as_follow(MESSAGE_PREFIX + secrets.token_hex(16))
        self._submit(request, project, [follow], lambda _: {"project": project.name, "status": project.status.value})

    def add(self, request: Request) -> None:
        """Submit some URLs for a project; they are accepted when the answer comes."""
        adding, project = read_request(request.args), find_staying_project(self._core, request).project
        self._submit(request, project, adding.follows(), lambda report: summary(adding, report))

    def _submit(
        self, request: Request, project: Project, follows: list[Follow], answer: Callable[[Committed], dict[str, Any]]
    ) -> None:
        """Write new tasks, tell the core, and answer."""

        def done(report: Committed) -> None:
            self._coordinator.apply(report)
            request.answer(answer(report))

        self._threads.write(request, lambda storage: storage.submit(project.id, follows, self._clock.wall_ms()), done)

    # --- shown ----------------------------------------------------------------------------------

    def list_tasks(self, request: Request) -> None:
        """Answer with a page of a project's tasks. status: list only tasks with this status."""
        project, after, limit = find_project(self._core, request).project, _after(request), request.limit()
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

    def list_results(self, request: Request) -> None:
        """Answer with a page of a project's results."""
        project, after, limit = find_project(self._core, request).project, _after(request), request.limit()
        self._threads.read(
            request,
            lambda reader: reader.results(project.id, after, limit),
            lambda found: request.answer(rows.page(found, rows.result_row)),
        )

    def show_task(self, request: Request) -> None:
        """Answer with all there is of one task."""
        project, taskid = find_project(self._core, request).project, request.text("taskid")

        def done(task: TaskDetail) -> None:
            ref = Ref(project.id, task.key)
            lease, story = self._core.leases.get(ref), self._core.story.of(ref, self._clock.wall_ms())
            request.answer(rows.task_detail(task, lease.session.host if lease else None, story))

        self._read_task(request, project, taskid, done)

    def _read_task(self, request: Request, project: Project, taskid: str, then: Callable[[TaskDetail], None]) -> None:
        """Read a task, then call `then` with it. Answers with an error if there is none."""

        def done(task: TaskDetail | None) -> None:
            if task is None:
                raise ZspiderError(f"no task {shortened(taskid)} in project {project.name!r}")
            then(task)

        self._threads.read(request, lambda reader: reader.task(project.id, taskid), done)

    # --- why it waits ---------------------------------------------------------------------------

    def why(self, request: Request) -> None:
        """Answer with what a project waits for, or one of its tasks.

        taskid: the task's; absent: the answer is about the project.
        """
        state, taskid = find_project(self._core, request), request.optional("taskid", str)
        if taskid:
            self._read_task(request, state.project, taskid, lambda task: self._why_task(request, state, task))
            return
        dropped = {
            name.removeprefix(DROPPED): value
            for name, value in sorted(state.project.counts.items())
            if name.startswith(DROPPED) and value
        }
        waits = why_project(self._core, state, self._clock.monotonic(), self._clock.wall_ms())
        request.answer({"waits": self._wait_rows(waits, state.project), "dropped": dropped})

    def _why_task(self, request: Request, state: ProjectState, task: TaskDetail) -> None:
        ref = Ref(state.project.id, task.key)
        if task.status is not Status.ACTIVE:
            waits = rows.wait_rows(why_finished(task.status, task.reason, self._core.leases.get(ref)))
        else:
            waiting = TaskToExplain(ref, task.url, task.retried, task.due_ms)
            now, now_ms = self._clock.monotonic(), self._clock.wall_ms()
            waits = self._wait_rows(why_task(self._core, state, waiting, now, now_ms), state.project)
        request.answer({"waits": waits, "dropped": {}})

    def _wait_rows(self, waits: Sequence[Wait], project: Project) -> list[dict[str, Any]]:
        """Return the obstacles outside of the core, then those that the core knows.

        A database that is away or behind holds up everything, and so does the removal of the project.
        """
        slow = []
        if (removing := rows.removing_row(project)) is not None:
            slow.append(Wait("removing", f"the project is being removed: {removing['left']:,} rows are left"))
        if self._writer.is_away:
            slow.append(Wait("database", "the database is away; it is tried again every few seconds"))
        elif self._coordinator.is_full:
            slow.append(Wait("database", f"the database is behind: {self._writer.backlog} outcomes wait for it"))
        return rows.wait_rows([*slow, *waits])


def _after(request: Request) -> bytes:
    """Return where the page before this one ended; b"": this is the first."""
    return bytes(request.optional("after", bytes) or b"")
