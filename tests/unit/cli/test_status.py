"""What `zspiderd status` shows of slaves."""

from typing import Any

import pytest
from zspider.cli.status import _show

SLAVE = {"session": "0a1b2c3d", "host": "left", "roles": ["fetcher"], "window": 0, "leased": 38, "outbox": 38}
MASTER = {"uptime_s": 5, "rate": 0.0, "database": "sqlite", "adopting": False, "projects": [], "hosts": []}


def shown(capsys: pytest.CaptureFixture[str], *slaves: dict[str, Any]) -> str:
    _show({**MASTER, "slaves": list(slaves)})
    return capsys.readouterr().out


def test_what_keeps_a_slave_from_its_work_is_its_note(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, {**SLAVE, "note": "cannot deliver its outcomes: \x1b[2J\nx"}, {**SLAVE, "note": ""})
    heading, first, second = text.splitlines()[-3:]
    assert heading.endswith("NOTE")
    assert "cannot deliver its outcomes: " in first
    assert "\x1b" not in text
    assert second.startswith("0a1b2c3d")


@pytest.mark.parametrize("note", [{"note": ""}, {}], ids=["no note", "an older master"])
def test_without_notes_there_is_no_column_for_them(capsys: pytest.CaptureFixture[str], note: dict[str, str]) -> None:
    assert "NOTE" not in shown(capsys, {**SLAVE, **note})
