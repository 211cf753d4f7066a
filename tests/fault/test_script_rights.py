"""What a script finds in its process: no more rights, descriptors and secrets than it needs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.slave.conftest import World
from tests.support.process import ROOT, environment
from tests.support.site import Site
from zspider.roles.machine.limits import DESCRIPTORS_MAX, script_environment

SECRET = "canary-3f9c1a"
SECRETS = {
    "ZSPIDER_TOKEN": SECRET,
    "ZSPIDER_ADMIN_TOKEN": SECRET,
    "ZSPIDER_DATABASE": f"mysql+pymysql://crawl:{SECRET}@db/crawl",
    "CREDENTIALS_DIRECTORY": f"/run/credentials/{SECRET}",
    "NOTIFY_SOCKET": f"/run/{SECRET}",
}
LOOK = """
import os, resource, stat
from pathlib import Path
from zspider import BaseHandler

class Handler(BaseHandler):
    def page(self, response):
        status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        fds = {int(name): os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
               if os.path.lexists(f"/proc/self/fd/{name}")}
        return {
            "environment": dict(os.environ),
            "raw": Path("/proc/self/environ").read_bytes().decode("latin-1"),
            "argv": Path("/proc/self/cmdline").read_bytes().decode("latin-1"),
            "no_new_privs": status["NoNewPrivs"],
            "umask": status["Umask"],
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
            "session_leader": os.getsid(0) == os.getpid(),
            "fds": fds,
        }
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a script on a real slave sees, whose own process has secrets in its environment."""
    for name, value in SECRETS.items():
        if name != "NOTIFY_SOCKET":  # the slave itself would write to it
            monkeypatch.setenv(name, value)
    with Site() as site:
        world = World(tmp_path, site)
        try:
            world.slave()
            world.master.grant(world.master.project(LOOK), site.url("/hello"))
            world.until(world.master.results, "a result")
            yield world.master.results()[0]
        finally:
            world.close()


def test_a_script_finds_no_secret_no_foreign_descriptor_and_no_way_to_more_rights(found: dict[str, Any]) -> None:
    assert SECRET not in json.dumps(found)
    assert not [name for name in found["environment"] if name.startswith("ZSPIDER_")]
    assert found["environment"]["PATH"] == os.environ["PATH"]
    assert (found["no_new_privs"], found["umask"], found["core"]) == ("1", "0077", [0, 0])
    assert found["files"] == [DESCRIPTORS_MAX, DESCRIPTORS_MAX]
    assert 0 < found["memory"] < 1 << 40
    assert found["session_leader"]
    pipes = [to for number, to in found["fds"].items() if int(number) > 2]
    assert found["fds"]["0"] == os.devnull
    assert sorted(to.partition(":")[0] for to in pipes) == ["/memfd", "socket"], pipes  # what connects it to its slave


def test_what_is_not_for_scripts_is_taken_out_of_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MY_OWN", "kept")
    left = script_environment()
    assert SECRET not in str(left)
    assert left["MY_OWN"] == "kept"


# Root would get in: both become another user, and the first one as readable as if that user had started it.
BECOME = "import ctypes, os\nif os.geteuid() == 0:\n    os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
HIDDEN = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from zspider.roles.machine.limits import hide_memory
{BECOME}
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if sys.argv[1] == "hidden":
    hide_memory()
print("up", flush=True)
time.sleep(60)
"""
READ = f"{BECOME}\nimport sys; print(open(f'/proc/{{sys.argv[1]}}/environ', 'rb').read().decode())"


@pytest.mark.parametrize("how", ["open", "hidden"])
def test_another_process_of_the_same_user_cannot_read_the_daemons_environment(how: str) -> None:
    argv = [sys.executable, "-c", HIDDEN, how]
    with subprocess.Popen(argv, env=environment({"ZSPIDER_TOKEN": SECRET}), stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == b"up\n"
            argv = [sys.executable, "-c", READ, str(daemon.pid)]
            read = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        finally:
            daemon.kill()
    if how == "open":
        assert SECRET in read.stdout, read.stderr  # else this test would show nothing
    else:
        assert (read.stdout, "PermissionError" in read.stderr) == ("", True)
