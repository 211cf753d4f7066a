"""The data directory that nobody named."""

import os
from pathlib import Path

import pytest
from zspider import settings
from zspider.settings import default_data_dir


@pytest.fixture(autouse=True)
def plain_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody with a home, on a machine without a master's directory."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(settings, "SYSTEM_DATA_DIR", tmp_path / "var")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_it_is_at_home(tmp_path: Path) -> None:
    assert default_data_dir() == tmp_path / "home/.local/share/zspider"


def test_systemds_word_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/other")
    assert default_data_dir() == Path("/var/lib/one")


def test_the_machines_master_comes_before_the_home_for_whoever_may_write_there(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    assert default_data_dir() == tmp_path / "var"


def test_root_has_the_machines_directory_whether_it_is_there_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == tmp_path / "var"


def test_a_user_that_nobody_knows_gets_the_machines_directory_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert default_data_dir() == tmp_path / "var"
