"""A coordinator at work without sockets and threads."""

from zspider.broker.keys import MasterKeys
from zspider.roles.master.commits import Commits
from zspider.roles.master.coordinator import Coordinator
from zspider.roles.master.script_cache import ScriptCache
from zspider.roles.master.slave_messages import SlaveMessages
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


def opened(tmp_path, storage=None, writer=None, hub=None):
    """A coordinator at work."""
    keys, core = MasterKeys(tmp_path / "keys"), Core(Timing(), window=10, expected=(), now=0.0)
    writer, settings = writer or Writer(storage), MasterFile(data_dir=tmp_path)
    return Coordinator(hub, keys, SchedulerRules(), core, writer, settings, cluster=b"c" * 16, epoch=1)


def slave_messages(coordinator):
    """What acts on messages for this coordinator."""
    hub, keys, writer = coordinator._hub, coordinator._keys, coordinator._writer
    return SlaveMessages(hub, keys, coordinator, Commits(hub, keys, writer, coordinator), ScriptCache(writer))
