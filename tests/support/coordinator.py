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

    def on_repeat(self, then):
        """No call is repeated."""

    def call(self, work, then=lambda _: None, failed=None):
        then(work(self.storage))


class WaitingWriter:
    """Its database is away: what it is given waits in `calls`."""

    is_away = True

    def __init__(self):
        self.calls = []

    def on_repeat(self, then):
        """No call is repeated."""

    def call(self, work, then=lambda _: None, failed=None):
        self.calls.append(work)


def opened(tmp_path, storage=None, writer=None):
    """A coordinator at work."""
    keys, core = MasterKeys(tmp_path / "keys"), Core(Timing(), window=10, expected=(), now=0.0)
    writer, settings = writer or Writer(storage), MasterFile(data_dir=tmp_path)
    return Coordinator(None, keys, SchedulerRules(), core, writer, settings, cluster=b"c" * 16, epoch=1)
