"""What may become of a project, by which verb; and what its group says."""

from itertools import product
from pathlib import Path

import pytest
from tests.support.scheduler_world import make_project
from zspider.errors import ConfigError, ExitCode
from zspider.scheduler.project_states import TRANSITIONS, Verb, group_words, is_locked, is_to_be_deleted, status_after
from zspider.task import ProjectStatus

DOCS = Path(__file__).parents[3] / "docs" / "projects.md"
PAIRS = list(product(Verb, ProjectStatus))
DAY_MS = 86_400_000


def documented():
    """The table of docs/projects.md: (verb, status) -> status, or a dash."""
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in DOCS.read_text().splitlines()]
    at = next(number for number, row in enumerate(rows) if row[0] == "from")
    verbs, table = rows[at][1:], {}
    for status, *cells in rows[at + 2 : at + 2 + len(ProjectStatus)]:
        table |= {(verb, status): cell for verb, cell in zip(verbs, cells, strict=True)}
    return table


@pytest.mark.parametrize(("verb", "status"), PAIRS)
def test_each_verb_leads_where_the_docs_say(verb, status):
    expected = documented()[verb, status]
    project = make_project(status=status)
    if expected != "-":
        assert status_after(project, verb) == expected
        return
    with pytest.raises(ConfigError) as refused:
        status_after(project, verb)
    assert str(refused.value) == f"project1 is {status}: `{verb}` is for projects that are " + ", ".join(
        TRANSITIONS[verb]
    )
    assert refused.value.exit_code == ExitCode.USAGE


def test_the_docs_name_no_verb_and_no_status_that_is_not_there():
    assert set(documented()) == set(PAIRS)


def test_a_project_that_is_edited_while_it_runs_waits_for_somebody_to_start_it():
    """docs/pyspider-behaviour.md 4.3, and what zspider's own status does."""
    after = {status: status_after(make_project(status=status), Verb.EDIT) for status in ProjectStatus}
    assert {status for status, then in after.items() if then is not status} == {
        status for status in ProjectStatus if status.is_active
    }
    assert not any(then.is_active for then in after.values())


@pytest.mark.parametrize(
    ("group", "words"),
    [("", set()), ("Delete", {"delete"}), ("shops,LOCK delete", {"shops", "lock", "delete"}), ("deleted", {"deleted"})],
)
def test_a_group_is_words_in_any_case(group, words):
    assert group_words(group) == words
    assert is_locked(make_project(group=group)) is ("lock" in words)


@pytest.mark.parametrize(
    ("changes", "is_due"),
    [
        ({}, True),
        ({"updated_ms": 1}, False),
        ({"group": "x"}, False),
        ({"group": "lock, Delete"}, True),
        *(({"status": status}, False) for status in ProjectStatus if status is not ProjectStatus.STOP),
    ],
)
def test_a_project_is_deleted_when_it_is_stopped_says_so_and_was_left_alone(changes, is_due):
    project = make_project(**{"status": ProjectStatus.STOP, "group": "delete", "updated_ms": 0} | changes)
    assert is_to_be_deleted(project, DAY_MS + 1, 86_400) is is_due
