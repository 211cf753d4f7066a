"""The systemd units as systemd itself sees them: well-formed, hardened, and true to the daemon's contract."""

import re
import shutil
from pathlib import Path

import pytest
from tests.support.addresses import loopback_address
from tests.support.cluster import ZSPIDERD
from tests.support.process import ROOT, Process, run

UNITS = sorted((ROOT / "systemd").glob("*.service"))
COMMON = ROOT / "systemd" / "zspider-.service.d" / "50-common.conf"
EXPOSURE_MAX = 1.5  # the goal; 10 is no protection at all
SCORE = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}"]


def settings(unit: Path, key: str) -> list[str]:
    """As systemd reads them: the unit, then what all units share."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text() + COMMON.read_text(), re.MULTILINE)


@pytest.fixture
def runnable(tmp_path: Path) -> list[Path]:
    """Copies of the units that name a program which exists here, with an instance of the template."""
    shutil.copytree(COMMON.parent, tmp_path / COMMON.parent.name)
    copies = []
    for unit in UNITS:
        copy = tmp_path / unit.name.replace("@.", "@one.")
        copy.write_text(unit.read_text().replace("/usr/bin/zspiderd", shutil.which("true") or ""))
        copies.append(copy)
    return copies


def test_every_unit_of_the_design_is_there() -> None:
    names = [unit.name for unit in UNITS]
    assert names == ["zspider-master.service", "zspider-slave.service", "zspider-slave@.service"]


def test_what_the_units_share_stands_in_one_place() -> None:
    shared = set(re.findall(r"^(\w+)=", COMMON.read_text(), re.MULTILINE)) - {"After"}  # a list that units add to
    for unit in UNITS:
        own = set(re.findall(r"^(\w+)=", unit.read_text(), re.MULTILINE))
        assert own & shared <= {"RestrictAddressFamilies"}, unit.name  # the master's netlink, in the unit that needs it


def test_systemd_finds_nothing_to_complain_about(runnable: list[Path]) -> None:
    for unit in runnable:
        verified = run(["systemd-analyze", "verify", "--man=no", unit])
        assert (verified.code, verified.text) == (0, ""), str(verified)


def test_the_exposure_stays_below_the_goal(runnable: list[Path]) -> None:
    for unit in runnable:
        scored = run([*SCORE, unit])
        assert scored.code == 0, scored.text[-400:]
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", scored.text)
        assert exposure is not None, str(scored)
        assert float(exposure[1]) <= EXPOSURE_MAX


def test_a_unit_without_hardening_would_be_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\nUser=nobody\n")
    scored = run([*SCORE, bare])
    assert scored.code != 0  # so the test above can fail


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_daemon_reports_readiness_and_is_watched(unit: Path) -> None:
    assert settings(unit, "Type") == ["notify"]
    assert settings(unit, "NotifyAccess") == ["main"]
    assert settings(unit, "WatchdogSec") == ["30s"]
    assert settings(unit, "KillMode") == ["mixed"]


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "slave" in unit.name], ids=lambda unit: unit.stem)
def test_a_slave_starts_without_its_token_file(unit: Path) -> None:
    # systemd.exec(5): a credential of the same name in SetCredential= makes the missing file not fatal.
    assert settings(unit, "LoadCredential") == ["join-token:/etc/zspider/join.token"]
    assert settings(unit, "SetCredential") == ["join-token:\\n"]


def test_a_slave_runs_with_the_empty_line_that_stands_for_a_missing_token(tmp_path: Path) -> None:
    credential = tmp_path / "join-token"
    credential.touch(mode=0o400)
    credential.write_text("\n")
    argv = [*ZSPIDERD, "slave", "--master", loopback_address(), "--data-dir", tmp_path / "data"]
    with Process(argv, env={"CREDENTIALS_DIRECTORY": str(tmp_path)}) as slave:
        slave.wait_for("token_missing", 20)
        assert slave.stop() == 0


def test_processors_may_be_started_limited_and_watched() -> None:
    """The system calls that the roles need pass every unit's filter."""
    needed = {
        "clone3",
        "execve",
        "prctl",
        "prlimit64",
        "pidfd_open",
        "pidfd_send_signal",
        "epoll_pwait",
        "memfd_create",
        "sched_setscheduler",  # libzmq aborts without
        "setpriority",
    }
    for unit in UNITS:
        allowed: set[str] = set()
        for words in settings(unit, "SystemCallFilter"):
            calls = _system_calls(words.lstrip("~").split())
            allowed = allowed - calls if words.startswith("~") else allowed | calls
        assert needed <= allowed, unit.name


def _system_calls(names: list[str]) -> set[str]:
    """The calls of these groups, groups in groups resolved, as this systemd defines them."""
    calls: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            calls.add(name)
            continue
        listed = run(["systemd-analyze", "syscall-filter", name])
        assert listed.code == 0, str(listed)
        members = [line.strip() for line in listed.out.splitlines()[1:]]
        calls |= _system_calls([member for member in members if member and not member.startswith("#")])
    return calls


def test_the_user_and_the_settings_directory_are_declared(tmp_path: Path) -> None:
    for tool, folder in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
        declared = (ROOT / "systemd" / folder / "zspider.conf").read_text()
        (tmp_path / "etc" / folder).mkdir(parents=True)
        (tmp_path / "etc" / folder / "zspider.conf").write_text(declared)
        made = run([tool, f"--root={tmp_path}", *(["--create"] if tool == "systemd-tmpfiles" else []), "zspider.conf"])
        assert made.code == 0, str(made)
    users = (tmp_path / "etc" / "passwd").read_text()
    assert re.search(r"^zspider:x:\d+:\d+:zspider master:/var/lib/zspider:", users, re.MULTILINE), users
    assert (tmp_path / "etc" / "zspider").is_dir()
