"""The verbs that change many tasks or results, and those that change one task.

A verb on many is sent again and again, each time with where the last answer ended: every time a small batch goes
through the writer, between the commits of the crawl. So it goes on for as long as the command asks.
"""

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from zspider.errors import ConfigError, ZspiderError
from zspider.roles.machine.clock import Clock
from zspider.roles.master.admin.lookup import find_staying_project
from zspider.roles.master.admin.request import Request, shortened
from zspider.roles.master.admin.threads import AdminThreads
from zspider.roles.master.coordinator import Coordinator
from zspider.storage import Change, Committed, Cursor, Selection, Step
from zspider.task import Project, Status

log = structlog.get_logger(__name__)
IDLE_S = 10.0  # without a request for the next batch: the verb was given up
COUNT_ROWS = 2000  # read for one answer of a dry run
RECRAWLED = {
    "done": (Status.SUCCESS,),
    "failed": (Status.FAILED,),
    "all": (Status.SUCCESS, Status.FAILED),  # what was cancelled stays so
}


class _Job(msgspec.Struct):
    """A verb that is at work on a project."""

    id: str
    verb: str
    is_busy: bool  # a batch is with the writer
    at: float  # when the last one came back


class BulkJobs:
    """Lets one verb at a time work on many tasks of a project. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._jobs: dict[int, _Job] = {}

    def check_idle(self, project: Project, now: float) -> None:
        """Raise ZspiderError while a verb is at work on this project."""
        job = self._jobs.get(project.id)
        if job is not None and (job.is_busy or now - job.at < IDLE_S):
            raise ZspiderError(
                f"{project.name}: `{job.verb}` is at work; try again when it has ended, "
                f"or {IDLE_S:g} s after it was interrupted"
            )

    def enter(self, project: Project, verb: str, job_id: str | None, now: float) -> str:
        """Note that a batch begins: the first of a new job, or the next one of `job_id`; return the job's id.

        Raises ZspiderError when another job is at work, or has begun since.
        """
        job = self._jobs.get(project.id)
        if job_id is None:
            self.check_idle(project, now)
            job_id = secrets.token_hex(8)
        elif job is None or job.id != job_id or job.is_busy:
            raise ZspiderError(f"{project.name}: `{verb}` was interrupted, and another verb was begun since")
        self._jobs[project.id] = _Job(job_id, verb, True, now)
        return job_id

    def leave(self, project: Project, now: float, *, is_over: bool) -> None:
        """Note that the batch came back. is_over: it was the last."""
        job = self._jobs[project.id]
        job.is_busy, job.at = False, now
        if is_over:
            del self._jobs[project.id]


class BulkVerbs:
    """Answers these verbs.

    Those on many tasks with {"job", "changed", "looked", "total", "status", "next"}, a dry run with {"count", "next"},
    those on one task with {"project", "status"}.
    """

    def __init__(self, coordinator: Coordinator, threads: AdminThreads, clock: Clock) -> None:
        self.jobs = BulkJobs()
        self._coordinator = coordinator
        self._threads = threads
        self._clock = clock

    def _project(self, request: Request) -> Project:
        return find_staying_project(self._coordinator.core, request).project

    # --- many -----------------------------------------------------------------------------------

    def retry(self, request: Request) -> None:
        """Have failed tasks tried again."""
        self._change(request, "tasks retry", Change.RESTART, (Status.FAILED,))

    def recrawl(self, request: Request) -> None:
        """Have tasks that are done or failed crawled again. status: which of them; absent: all."""
        word = request.optional("status", str) or "all"
        if word not in RECRAWLED:
            raise ConfigError(f"status {shortened(word)}: one of {', '.join(RECRAWLED)} is allowed")
        self._change(request, "tasks recrawl", Change.RESTART, RECRAWLED[word])

    def drop(self, request: Request) -> None:
        """Delete waiting tasks."""
        self._change(request, "tasks drop", Change.REMOVE, (Status.ACTIVE,))

    def _change(self, request: Request, verb: str, change: Change, statuses: tuple[Status, ...]) -> None:
        project = self._project(request)
        selection, cursor = Selection(statuses, request.optional("url", str) or ""), _cursor(request)
        most = _most(request)
        total = sum(project.counts.get(status.word, 0) for status in statuses)
        if request.flag("dry_run"):
            self._count(request, project, selection, cursor, total)
            return

        def work(storage: Any) -> Step:
            now_ms = self._clock.wall_ms()
            step: Step = storage.change_tasks(change, project.id, selection, cursor, now_ms=now_ms, most=most)
            return step

        def answer_of(step: Step) -> dict[str, Any]:
            self._coordinator.apply(step.report)
            after = None if step.next is None else msgspec.msgpack.encode(step.next)
            return {"changed": step.changed, "looked": step.looked, "total": total, "next": after}

        self._batch(request, verb, project, work, answer_of)

    def clear(self, request: Request) -> None:
        """Delete the results of a project."""
        project, after = self._project(request), bytes(request.optional("after", bytes) or b"")
        total = project.counts.get("results", 0)
        if request.flag("dry_run"):
            request.answer({"count": total, "next": None})
            return

        def answer_of(answer: tuple[Committed, bytes | None]) -> dict[str, Any]:
            report, last = answer
            self._coordinator.apply(report)
            cut = -report.counts[project.id]["results"]
            return {"changed": cut, "looked": cut, "total": total, "next": last}

        self._batch(
            request, "results clear", project, lambda storage: storage.clear_results(project.id, after), answer_of
        )

    def _batch(
        self,
        request: Request,
        verb: str,
        project: Project,
        work: Callable[[Any], Any],
        answer_of: Callable[[Any], dict[str, Any]],
    ) -> None:
        """Have one batch written, as part of the one job that may be at work on this project."""
        job = self.jobs.enter(project, verb, request.optional("job", str), self._clock.monotonic())

        def done(value: Any) -> None:
            try:
                answer = answer_of(value)
            except BaseException:
                self.jobs.leave(project, self._clock.monotonic(), is_over=True)
                raise
            is_over = answer["next"] is None
            self.jobs.leave(project, self._clock.monotonic(), is_over=is_over)
            if is_over:
                log.info("bulk_ended", project=project.name, verb=verb)
            request.answer({"job": job, "status": project.status.value, **answer})

        def failed(error: ZspiderError) -> None:
            self.jobs.leave(project, self._clock.monotonic(), is_over=True)
            request.fail(error)

        self._threads.write(request, work, done, failed)

    def _count(
        self, request: Request, project: Project, selection: Selection, cursor: Cursor | None, total: int
    ) -> None:
        """Answer what the verb would change; the counters tell it, unless URLs must be looked at."""
        if not selection.url:
            request.answer({"count": total, "next": None})
            return

        def done(found: tuple[int, Cursor | None]) -> None:
            number, after = found
            request.answer({"count": number, "next": None if after is None else msgspec.msgpack.encode(after)})

        self._threads.read(request, lambda reader: reader.count(project.id, selection, cursor, COUNT_ROWS), done)

    # --- one ------------------------------------------------------------------------------------

    def retry_one(self, request: Request) -> None:
        """Have one task crawled again."""
        project, taskid = self._project(request), request.text("taskid")
        self._one(request, project, lambda storage: storage.restart_task(project.id, taskid, self._clock.wall_ms()))

    def remove_one(self, request: Request) -> None:
        """Delete one task, and its results unless they are kept."""
        project, taskid = self._project(request), request.text("taskid")
        keep = request.flag("keep_results")
        self._one(
            request,
            project,
            lambda storage: storage.remove_task(project.id, taskid, self._clock.wall_ms(), keep_results=keep),
        )

    def _one(self, request: Request, project: Project, work: Callable[[Any], Committed]) -> None:
        """Have one task changed, and answer."""

        def done(report: Committed) -> None:
            self._coordinator.apply(report)
            request.answer({"project": project.name, "status": project.status.value})

        self._threads.write(request, work, done)


def _cursor(request: Request) -> Cursor | None:
    """Return where the batch before this one ended; None: this is the first."""
    packed = request.optional("after", bytes)
    if not packed:
        return None
    try:
        return msgspec.msgpack.decode(packed, type=Cursor)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ConfigError(f"after: this is not what an answer said: {exc}") from exc


def _most(request: Request) -> int | None:
    """Return how many tasks the verb may change; None: any number."""
    most: int | None = request.optional("limit", int)
    if most is not None and most < 1:
        raise ConfigError(f"limit {most}: at least 1")
    return most
