"""A Debian that has booted: systemd is its init, in a container of this machine. Needs root.

The image is made once and kept; each machine is a layer above it that vanishes with the machine. It reaches no network:
it has loopback alone, or the host of a `netns.Network`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from tests.support.netns import Host
from tests.support.process import ROOT, Process, Ran, eventually, run

RELEASE = "bookworm"  # the oldest Debian whose Python is new enough
IMAGE_S = 900.0  # to make an image on a slow mirror
WHEELS_S = 300.0
BOOT_S = 60.0
HALT_S = 30.0
PROGRAMS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "unshare": "util-linux"}
_MAKE_IMAGE = ROOT / "scripts" / "make-debian-image"
_ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"]


def missing() -> str:
    """What this machine lacks to boot one, in words; nothing: it can."""
    if os.geteuid() != 0:
        return "root (containers that boot)"
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if packages:
        return f"{', '.join(packages)} (containers that boot)"
    return "" if _can_contain() else "a kernel that lets root mount overlays in namespaces of their own"


def image(release: str = RELEASE) -> Path:
    """The directory of a Debian that has what a small server has; made when there is none. Never written to."""
    made_by = hashlib.sha256(_MAKE_IMAGE.read_bytes()).hexdigest()[:8]  # another script: another image
    directory = _cache() / f"debian-{release}-{made_by}"
    if not directory.exists():
        made = run([_MAKE_IMAGE, release, directory], deadline_s=IMAGE_S)
        assert made.code == 0, str(made)
    return directory


def python_of(image: Path) -> str:
    """The version of the image's Python, as "3.11"."""
    (library,) = (image / "usr/lib").glob("python3.*")
    return library.name.removeprefix("python")


def wheels(python: str) -> Path:
    """A directory with all that `pip install .` asks for, so that a machine without a network can install from it.

    python: the version that it has, as "3.11".
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    named = hashlib.sha256("\n".join([python, *wanted]).encode()).hexdigest()[:8]
    directory = _cache() / f"wheels-{python}-{named}"
    if not directory.exists():
        fresh = directory.with_suffix(f".{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        got = run(
            [*pip, "--only-binary=:all:", "--python-version", python, "--dest", fresh, *wanted], deadline_s=WHEELS_S
        )
        assert got.code == 0, str(got)
        if not directory.exists():
            fresh.rename(directory)
    return directory


class Entry(NamedTuple):
    """A line of the journal."""

    unit: str  # whose it is; of what systemd says about a unit, that unit
    by: str  # the program that said it: "zspiderd", "systemd", ...
    priority: int  # 3 error, 4 warning, 5 notice, 6 info
    text: str


class BootedMachine:
    """One machine, booted in the `with` block; leaving it switches it off and forgets all that it wrote."""

    def __init__(
        self,
        image: Path,
        directory: Path,
        *,
        base: Sequence[Path] = (),
        binds: Mapping[Path, str] | None = None,
        host: Host | None = None,
        name: str = "zspider",
    ) -> None:
        """directory: where its own layer is made. base: layers of machines that were switched off, the newest first: it
        begins as their clone. binds: directories of ours that it sees, read-only, at these paths. host: the network
        that it has; None: loopback alone.
        """
        self.name = name
        self._image = image
        self._layers = [*base, image]
        self._directory = directory / name
        self._binds = dict(binds or {})
        self._host = host
        self._console: Process | None = None
        self._init = 0

    @property
    def root(self) -> Path:
        """Its root directory, as this machine sees it."""
        return Path(f"/proc/{self._init}/root")

    @property
    def layer(self) -> Path:
        """What it has written; once it is switched off, others can begin there."""
        return self._directory / "upper"

    def __enter__(self) -> "BootedMachine":
        for layer in ("upper", "work", "root"):
            (self._directory / layer).mkdir(parents=True)
        try:
            # A mount namespace of its own: the layer is gone with the last process, however that ends.
            self._console = Process(self._boot_command(), env=self._boot_environment(), name=self.name)
            self._init = eventually(self._find_init, BOOT_S, "an init in the container")
            eventually(self._is_up, BOOT_S, "a system that runs")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, *argv: str | Path, env: Mapping[str, str] | None = None, deadline_s: float = 60.0) -> Ran:
        """Run a command as root in it."""
        extra = [f"{name}={value}" for name, value in (env or {}).items()]
        return run([*self._enter(), *_ENVIRONMENT, *extra, *argv], deadline_s=deadline_s)

    def must(self, *argv: str | Path, env: Mapping[str, str] | None = None, deadline_s: float = 60.0) -> str:
        """The same; AssertionError unless it ends well. Returns what it printed."""
        ran = self.run(*argv, env=env, deadline_s=deadline_s)
        assert ran.code == 0, str(ran)
        return ran.out

    def spawn(self, *argv: str | Path) -> Process:
        """Start a program in it that goes on."""
        return Process([*self._enter(), *_ENVIRONMENT, *argv], name=f"{Path(argv[0]).name}@{self.name}")

    def journal(self, unit: str) -> list[Entry]:
        """What a unit has said since the boot, and what systemd has said of it."""
        lines = self.must("journalctl", "--no-pager", "-o", "json", "-u", unit).splitlines()
        return [_entry(json.loads(line)) for line in lines]

    def close(self) -> None:
        """Switch it off. Safe to repeat."""
        console, self._console = self._console, None
        if console is None:
            return
        if console.returncode is None and self._init:
            self.run("systemctl", "--force", "--force", "poweroff", deadline_s=HALT_S)
        try:
            console.wait(HALT_S)
        finally:
            console.close()

    def _enter(self) -> Sequence[str]:
        return ["nsenter", "--target", str(self._init), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]

    def _boot_command(self) -> list[str]:
        lower = ":".join(map(str, self._layers))
        layers = f"lowerdir={lower},upperdir={self.layer},workdir={self._directory}/work"
        network = f"--network-namespace-path=/run/netns/{self._host.namespace}" if self._host else "--private-network"
        nspawn = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", network]
        nspawn += ["--link-journal=no", f"--machine={self.name}", f"--directory={self._directory}/root"]
        nspawn += [f"--bind-ro={ours}:{theirs}" for ours, theirs in self._binds.items()]
        script = f'mount -t overlay overlay -o "{layers}" "{self._directory}/root" && exec "$@"'
        guarded = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
        return [*guarded, "sh", "-c", script, "sh", *nspawn]

    def _boot_environment(self) -> dict[str, str]:
        # From 256 on, systemd wants cgroup v2, which a machine that has both gives it if asked.
        is_new = python_of(self._image) != "3.11"  # Debian 12's, with systemd 252
        return {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if is_new else {}

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running").out.strip()
        assert state != "degraded", self.run("systemctl", "--failed", "--no-pager").out
        return state == "running"

    def _find_init(self) -> int:
        assert self._console is not None
        assert self._console.returncode is None, f"the container did not boot:\n{self._console.tail()}"
        try:
            children = psutil.Process(self._console.pid).children(recursive=True)
            return next((one.pid for one in children if _is_init(one.pid)), 0)
        except psutil.NoSuchProcess:
            return 0


def _is_init(pid: int) -> bool:
    """Whether it is the first process of a namespace, and has become systemd."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        program = Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return False
    (numbers,) = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
    return len(numbers) > 1 and numbers[-1] == "1" and program.name == "systemd"


def _entry(said: Mapping[str, Any]) -> Entry:
    unit = said.get("UNIT") or said.get("_SYSTEMD_UNIT") or ""
    text = said.get("MESSAGE") or ""
    shown = bytes(text).decode("utf-8", "replace") if isinstance(text, list) else str(text)
    return Entry(unit, said.get("SYSLOG_IDENTIFIER", ""), int(said.get("PRIORITY", 6)), shown)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "zspider"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _can_contain() -> bool:
    """Whether namespaces can be made, and overlays mounted in them."""
    overlay = "mount -t overlay overlay -o lowerdir=/tmp/a,upperdir=/tmp/b,workdir=/tmp/c /tmp/d"
    probe = f"mount -t tmpfs tmpfs /tmp && mkdir /tmp/a /tmp/b /tmp/c /tmp/d && {overlay}"
    command = ["unshare", "--mount", "--pid", "--fork", "--propagation", "private"]
    done = subprocess.run(
        [*command, "sh", "-c", probe],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    return done.returncode == 0
