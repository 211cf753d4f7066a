"""Debian machines on which zspider is installed as docs/systemd.md says, command by command."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.conftest import lacking
from tests.support import booted
from tests.support.booted import BootedMachine
from tests.support.process import ROOT

PAGE = ROOT / "docs" / "systemd.md"
WHEELS = "/wheels"
INSTALL_S = 400.0  # 15 s on a machine that has nothing else to do
NOT_CLONED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "*.zspider")


def commands(heading: str) -> list[str]:
    """The commands that the page gives under a heading, in order."""
    _, _, section = PAGE.read_text().partition(f"\n## {heading}\n")
    section, _, _ = section.partition("\n## ")
    found = [line.strip() for line in re.findall(r"^(?: {4}| {6})\S.*$", section, re.MULTILINE)]
    assert found, f"no commands under {heading!r}"
    return found


@pytest.fixture(scope="session")
def image() -> Path:
    """A Debian with nothing of zspider on it."""
    if lack := booted.missing():
        lacking(lack)
    return booted.image()


@pytest.fixture(scope="session")
def installed(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The layer that the page's section "Install" adds to it."""
    directory = tmp_path_factory.mktemp("installed")
    install, clone, *rest = commands("Install")
    assert install == "apt-get install git python3-venv"  # both are there: nothing can be fetched without a network
    assert clone.startswith("git clone ")
    from_wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with BootedMachine(image, directory, binds={booted.wheels(booted.python_of(image)): WHEELS}) as machine:
        shutil.copytree(ROOT, machine.root / "opt/zspider", ignore=NOT_CLONED)
        for command in rest:
            machine.must("sh", "-c", command, env=from_wheels, deadline_s=INSTALL_S)
    yield machine.layer
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def boot(image: Path, installed: Path, tmp_path: Path) -> Iterator[Callable[[str], BootedMachine]]:
    """Boot a machine with this name that has zspider installed; all are clones of one."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(BootedMachine(image, tmp_path, base=[installed], name=name))
    shutil.rmtree(tmp_path, ignore_errors=True)
