"""When the master deletes a script version that no project uses."""

from structlog.testing import capture_logs
from tests.support.coordinator import WaitingWriter, Writer
from zspider.roles.machine.clock import SYSTEM_CLOCK
from zspider.roles.master.retention import DAY_MS
from zspider.roles.master.script_retention import ScriptRetention


class Scripts:
    """Unused versions of scripts, as storage has them."""

    def __init__(self, *unused):
        self.unused = list(unused)
        self.deleted = []
        self.asked = []

    def unused_scripts(self, before_ms):
        self.asked.append(before_ms)
        return self.unused

    def delete_scripts(self, digests):
        self.deleted += digests
        self.unused = [one for one in self.unused if one not in digests]
        return len(digests)


def test_a_version_is_deleted_when_two_looks_in_a_row_found_it_unused():
    scripts = Scripts(b"a", b"b")
    retention = ScriptRetention(90.0, Writer(scripts))
    retention.look()
    assert scripts.deleted == []
    assert abs(SYSTEM_CLOCK.wall_ms() - scripts.asked[0] - 90 * DAY_MS) < 60_000
    scripts.unused = [b"b", b"c"]  # `a` is used again
    with capture_logs() as logs:
        retention.look()
    assert scripts.deleted == [b"b"]
    assert [(log["event"], log["versions"]) for log in logs] == [("scripts_deleted", 1)]
    scripts.unused = [b"a", b"c"]  # and not any more
    retention.look()
    assert scripts.deleted == [b"b", b"c"]
    retention.look()
    assert scripts.deleted == [b"b", b"c", b"a"]


def test_nothing_is_asked_for_while_the_database_is_away_or_nothing_is_to_go():
    away, scripts = WaitingWriter(), Scripts(b"a")
    ScriptRetention(90.0, away).look()
    ScriptRetention(0.0, Writer(scripts)).look()
    assert away.calls == scripts.asked == []
