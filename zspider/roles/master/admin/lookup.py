"""The project that a verb names."""

from zspider.errors import ZspiderError
from zspider.roles.master.admin.request import Request, shortened
from zspider.roles.master.admin.rows import is_removing
from zspider.scheduler.core import Core
from zspider.scheduler.projects import ProjectState
from zspider.task import Project


def named_project(core: Core, name: str) -> ProjectState | None:
    """Return the project of this name, or None if there is none."""
    return next((state for state in core.projects.values() if state.project.name == name), None)


def find_project(core: Core, request: Request, argument: str = "project") -> ProjectState:
    """Return the project that an argument of the request names. Raises ZspiderError if there is none."""
    wanted = request.text(argument)
    state = named_project(core, wanted)
    if state is None:
        raise ZspiderError(f"no project named {shortened(wanted)}; `zspiderd project list` shows all")
    return state


def find_staying_project(core: Core, request: Request, argument: str = "project") -> ProjectState:
    """Return the project that is to be changed. Raises ZspiderError, also if it is being removed."""
    state = find_project(core, request, argument)
    check_stays(state.project)
    return state


def check_stays(project: Project) -> None:
    """Raise ZspiderError for a project that is being removed."""
    if is_removing(project):
        raise ZspiderError(
            f"{project.name} is being removed: nothing of it can be changed; a new project may have its name afterwards"
        )
