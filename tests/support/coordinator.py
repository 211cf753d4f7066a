"""A coordinator at work without sockets and threads."""

from zspider.broker.keys import MasterKeys
from zspider.roles.master.coordinator import Coordinator
from zspider.scheduler.core import Core, Timing
from zspider.scheduler.rules import SchedulerRules
from zspider.settings import MasterFile


class Writer:
    """Does at once what the writer's thread would do later."""

    is_away = False

    def __init__(self, storage):
        self.storage = storage

    def call(self, work, then=lambda _: None, failed=None):
        then(work(self.storage))


class WaitingWriter:
    """Its database is away: what it is given waits in `calls`."""

    is_away = True

    def __init__(self):
        self.calls = []

    def call(self, work, then=lambda _: None, failed=None):
        self.calls.append(work)


def opened(tmp_path, storage=None, writer=None):
    """A coordinator at work."""
    coordinator = Coordinator(None, MasterKeys(tmp_path / "keys"), SchedulerRules())
    core = Core(Timing(), window=10, expected=(), now=0.0)
    coordinator.open(core, writer or Writer(storage), MasterFile(data_dir=tmp_path), b"c" * 16, 1)
    return coordinator
