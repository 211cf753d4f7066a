"""Secret files in a directory of another user: what root may read, and whose it is that root writes."""

import os
import stat
from pathlib import Path

import pytest
from zspider.broker.keys import MasterKeys
from zspider.broker.private_files import as_owner, make_private_directory, read_private, write_private
from zspider.errors import DeniedError

pytestmark = pytest.mark.root
SERVICE = 12345


@pytest.fixture
def service_dir(tmp_path: Path) -> Path:
    """A daemon's data directory with a secret in it."""
    path = tmp_path / "service"
    path.mkdir(mode=0o700)
    os.chown(path, SERVICE, SERVICE)
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o711)  # so that the service gets there
    with as_owner(path):
        write_private(path / "secret", b"hush")
    return path


def owners(directory: Path) -> set[int]:
    return {path.stat().st_uid for path in directory.rglob("*")}


def test_root_reads_what_another_user_keeps_for_himself(service_dir: Path) -> None:
    assert read_private(service_dir / "secret") == b"hush"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_a_secret_that_strangers_can_read_is_refused_to_root_as_well(service_dir: Path, mode: int) -> None:
    (service_dir / "secret").chmod(mode)
    with pytest.raises(DeniedError, match=f"mode {mode:04o}"):
        read_private(service_dir / "secret")


def test_another_user_is_told_whose_a_secret_is(service_dir: Path) -> None:
    os.chown(service_dir / "secret", SERVICE + 1, -1)
    (service_dir / "secret").chmod(0o600)
    with as_owner(service_dir), pytest.raises(DeniedError, match="cannot read"):
        read_private(service_dir / "secret")


def test_what_root_writes_as_the_owner_is_the_owners(service_dir: Path) -> None:
    with as_owner(service_dir):
        MasterKeys(service_dir).add_token("join")
    assert (os.geteuid(), os.getegid()) == (0, 0)
    assert owners(service_dir) == {SERVICE}
    with as_owner(service_dir / "not" / "yet" / "there"):  # whose the nearest directory is
        (service_dir / "made").touch()
    assert owners(service_dir) == {SERVICE}


def test_root_is_itself_again_after_an_error(service_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), as_owner(service_dir):
        _ = 1 / 0
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_no_master_of_roots_keeps_its_keys_in_a_directory_of_another_user(service_dir: Path) -> None:
    with pytest.raises(DeniedError, match=f"belongs to user {SERVICE}"):
        make_private_directory(service_dir)


def test_a_directory_of_roots_is_roots_to_change(tmp_path: Path) -> None:
    with as_owner(tmp_path / "data"):
        make_private_directory(tmp_path / "data")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert (tmp_path / "data").stat().st_uid == 0
