"""Which verb leads from which status of a project to which: the whole table; and the words of its group.

Source: docs/pyspider-behaviour.md 4.3.
"""

import re
from enum import StrEnum

from zspider.errors import ConfigError
from zspider.task import Project, ProjectStatus

_TODO, _STOP, _CHECKING, _DEBUG, _RUNNING, _PAUSED = ProjectStatus


class Verb(StrEnum):
    """The verbs that change a status. `project set --status` is none of these: it leads from anywhere to anywhere."""

    PUSH = "push"  # a new script version
    EDIT = "edit"  # the same, saved in an editor: what ran waits until somebody starts it
    START = "start"  # and on_start runs
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"  # without on_start
    REMOVE = "rm"


# What each verb makes of each status. What is not listed is refused.
TRANSITIONS: dict[Verb, dict[ProjectStatus, ProjectStatus]] = {
    Verb.PUSH: {status: status for status in ProjectStatus},
    Verb.EDIT: {
        _TODO: _TODO,
        _STOP: _STOP,
        _CHECKING: _CHECKING,
        _DEBUG: _CHECKING,
        _RUNNING: _CHECKING,
        _PAUSED: _CHECKING,
    },
    Verb.START: dict.fromkeys(ProjectStatus, _RUNNING),
    Verb.STOP: dict.fromkeys(ProjectStatus, _STOP),
    Verb.PAUSE: {_DEBUG: _PAUSED, _RUNNING: _PAUSED, _PAUSED: _PAUSED},
    Verb.RESUME: {_STOP: _RUNNING, _CHECKING: _RUNNING, _DEBUG: _DEBUG, _RUNNING: _RUNNING, _PAUSED: _RUNNING},
    Verb.REMOVE: dict.fromkeys(ProjectStatus, _STOP),
}


def status_after(project: Project, verb: Verb) -> ProjectStatus:
    """Return the status that a verb gives a project; raises ConfigError, in one line, when it is not for its status."""
    statuses = TRANSITIONS[verb]
    if project.status not in statuses:
        allowed = ", ".join(statuses)
        raise ConfigError(f"{project.name} is {project.status}: `{verb}` is for projects that are {allowed}")
    return statuses[project.status]


def group_words(group: str) -> frozenset[str]:
    """Return a group's words, in lower case; `delete` and `lock` mean something (docs/pyspider-behaviour.md 4.3)."""
    return frozenset(word for word in re.split(r"\W+", group.lower()) if word)


def is_locked(project: Project) -> bool:
    """Return whether only those who may administer may change it."""
    return "lock" in group_words(project.group)


def is_to_be_deleted(project: Project, now_ms: int, delete_s: float) -> bool:
    """Return whether it is stopped, its group says `delete`, and it was not changed for so long.

    Source: docs/pyspider-behaviour.md 4.3.
    """
    return (
        project.status is ProjectStatus.STOP
        and now_ms - project.updated_ms > 1000 * delete_s
        and "delete" in group_words(project.group)
    )
