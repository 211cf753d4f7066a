"""The verbs on projects: shown, pushed, changed, started, stopped and removed."""

from typing import Any

import structlog

from zspider.errors import ConfigError
from zspider.roles.machine.clock import Clock
from zspider.roles.master.admin.bulk import BulkJobs
from zspider.roles.master.admin.lookup import check_stays, find_project, find_staying_project, named_project
from zspider.roles.master.admin.request import Request, shortened
from zspider.roles.master.admin.rows import declared_row
from zspider.roles.master.admin.status import ProjectRows
from zspider.roles.master.admin.threads import AdminThreads
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.project_removal import ProjectRemovals, Waiter
from zspider.scheduler.internal_tasks import entry_follow
from zspider.scheduler.project_states import Verb, status_after
from zspider.scheduler.projects import ProjectState
from zspider.storage import Committed
from zspider.task import ON_START, Project, ProjectStatus

log = structlog.get_logger(__name__)
NAME_CHARS_MAX = 64
_RUNS = (ProjectStatus.RUNNING, ProjectStatus.DEBUG)  # whoever sets these wants its script to be tried


class ProjectVerbs:
    """Answers the verbs `project.*`. Each but `list` and `remove` answers with the row of its project."""

    def __init__(
        self,
        coordinator: Coordinator,
        threads: AdminThreads,
        removals: ProjectRemovals,
        jobs: BulkJobs,
        project_rows: ProjectRows,
        clock: Clock,
    ) -> None:
        """jobs: the verbs at work on many tasks; a project that has one is not removed."""
        self._coordinator = coordinator
        self._core = coordinator.core
        self._threads = threads
        self._removals = removals
        self._jobs = jobs
        self._rows = project_rows
        self._clock = clock

    # --- looked at ------------------------------------------------------------------------------

    def list_all(self, request: Request) -> None:
        """Answer with a row of each project."""
        request.answer({"rows": self._rows.all()})

    def show(self, request: Request) -> None:
        """Answer with a project's row and its script."""
        state = find_project(self._core, request, "name")
        self._threads.write(  # not the reader, which is slow during an export
            request,
            lambda storage: storage.script(state.project.script),
            lambda text: request.answer(
                {**self._rows.row(state), "declared": declared_row(state.project.info), "script": text}
            ),
        )

    # --- a script -------------------------------------------------------------------------------

    def push(self, request: Request) -> None:
        """Write a script that compiles, and make its project if there is none."""
        name, text = request.text("name"), request.text("script")
        if len(name) > NAME_CHARS_MAX or not name.isascii() or not name.replace("_", "a").isalnum():
            raise ConfigError(f"project name {shortened(name)}: 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 _ are allowed")
        changes = _changes(request)
        is_edit = request.flag("edit")  # it was saved in an editor
        self._threads.compile(request, name, text, lambda: self._store(request, name, text, changes, is_edit))

    def _store(self, request: Request, name: str, text: str, changes: dict[str, Any], is_edit: bool) -> None:
        """Write a script that was found to compile."""
        state = named_project(self._core, name)
        if state is None:
            changes.setdefault("status", ProjectStatus.TODO if is_edit else ProjectStatus.RUNNING)
        else:
            check_stays(state.project)
            if is_edit:
                changes["known_status"] = status_after(state.project, Verb.EDIT)

        def done(project: Project) -> None:
            self._coordinator.set_project(project, asks_anew=True)
            log.info("project_pushed", project=name, script=project.script.hex()[:12], created=state is None)
            request.answer({**self._rows.row_of(project.id), "created": state is None})

        self._threads.write(
            request, lambda storage: storage.push(name, text, now_ms=self._clock.wall_ms(), **changes), done
        )

    # --- settings and status --------------------------------------------------------------------

    def change(self, request: Request) -> None:
        """Change the settings that the request names."""
        changes = _changes(request)
        if not changes:
            raise ConfigError("nothing to set: give status, rate, burst or group")
        self._write_changes(request, find_staying_project(self._core, request, "name"), changes)

    def stop(self, request: Request) -> None:
        """Let slaves finish what they have begun, and grant nothing more."""
        self._move(request, Verb.STOP)

    def pause(self, request: Request) -> None:
        """Grant nothing until `resume`."""
        self._move(request, Verb.PAUSE)

    def resume(self, request: Request) -> None:
        """End a pause."""
        self._move(request, Verb.RESUME)

    def start(self, request: Request) -> None:
        """Make a project RUNNING and submit on_start: both or neither."""
        project = find_staying_project(self._core, request, "name").project
        status = status_after(project, Verb.START)
        follow = entry_follow(ON_START)

        def done(written: tuple[Committed, Project]) -> None:
            report, started = written
            self._coordinator.apply(report)
            self._coordinator.set_project(started, asks_anew=True)
            self._core.unpause(project.id)
            request.answer(self._rows.row_of(project.id))

        self._threads.write(
            request, lambda storage: storage.start(project.id, status, follow, self._clock.wall_ms()), done
        )

    def _move(self, request: Request, verb: Verb) -> None:
        """Give a project another status, if the verb leads there from the one it has."""
        state = find_staying_project(self._core, request, "name")
        self._write_changes(request, state, {"status": status_after(state.project, verb)})

    def _write_changes(self, request: Request, state: ProjectState, changes: dict[str, Any]) -> None:
        """Write the changes, tell the core, and answer with the project's row."""
        project = state.project

        def done(changed: Project) -> None:
            self._coordinator.set_project(changed, asks_anew=changes.get("status") in _RUNS)
            if "status" in changes:  # a request that names one wants it to be so, also if it was
                self._core.unpause(project.id)
            request.answer(self._rows.row_of(project.id))

        self._threads.write(
            request,
            lambda storage: storage.set_project(project.id, now_ms=self._clock.wall_ms(), **changes),
            done,
        )

    # --- its end --------------------------------------------------------------------------------

    def remove(self, request: Request) -> None:
        """Stop a project and begin to delete it; answered with {"left"} after a batch of rows.

        The master goes on with the rest. again: the command asked before; if the project is gone, it is done.
        """
        is_again, keep = request.flag("again"), request.flag("keep_results")
        if is_again and named_project(self._core, request.text("name")) is None:
            request.answer({"left": 0})
            return
        project = find_project(self._core, request, "name").project
        self._jobs.check_idle(project, self._clock.monotonic())
        status_after(project, Verb.REMOVE)
        waiter = Waiter(lambda left: request.attempt(lambda: request.answer({"left": left})), request.fail)
        self._removals.remove(project, waiter, keep_results=keep)


def _changes(request: Request) -> dict[str, Any]:
    """Return the settings of a project that the request names, checked."""
    changes: dict[str, Any] = {}
    if (status := request.optional("status", str)) is not None:
        if status not in ProjectStatus.__members__:
            raise ConfigError(f"status {shortened(status)}: one of {', '.join(ProjectStatus.__members__)} is allowed")
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
