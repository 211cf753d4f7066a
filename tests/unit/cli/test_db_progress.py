"""What `db upgrade` says of its steps when nobody watches: each step once, and now and then how far it is."""

import pytest
from zspider.cli import db


def test_a_step_is_told_once_and_the_next_one_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with db._Progress() as progress:
        progress.say("tasks: adding column host")
        for number in range(1000, 9000, 1000):
            progress.say(f"tasks: {number:,} rows filled: host")
        progress.say("tasks: making index frontier")
    assert capsys.readouterr().err.splitlines() == [
        "tasks: adding column host",
        "tasks: 1,000 rows filled: host",
        "tasks: making index frontier",
    ]


def test_a_long_step_is_told_again_after_a_while(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "PIPE_S", 0.0)
    with db._Progress() as progress:
        for number in (1000, 2000):
            progress.say(f"tasks: {number:,} rows filled: host")
    assert len(capsys.readouterr().err.splitlines()) == 2
