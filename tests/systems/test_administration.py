"""Who may administer a master that runs as a service, and what its machine may lack."""

import shlex
from collections.abc import Callable

import pytest
from tests.support.booted import BootedMachine
from tests.support.process import Ran, eventually
from tests.systems.conftest import commands
from tests.systems.steps import (
    MASTER,
    SLAVE,
    Boot,
    by_daemon,
    graver,
    results,
    shown,
    slaves,
    start_crawl,
    start_master,
    wait_results,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

UNKNOWN = "setpriv --reuid 54321 --regid 54321 --clear-groups env -u HOME"
READS = ["status", "project list", "project show articles", "why articles", "tasks articles", "results articles"]
SECRETS = ["token show", "token show --admin", "token list", "token add", "db check"]
# Who may do what; the verbs of one kind are alike, so not everybody says all of them.
MAY = {
    "": READS + SECRETS,  # root
    "zspider": ["status", "results articles", "token show", "token add"],
    "alice": ["status", "project list", "results articles"],
    "bob": [],
}
MAY_NOT = {
    "alice": [f"{words} --data-dir /var/lib/zspider" for words in ("token show", "token add", "db check")],
    "bob": ["status", "results articles", "token show --data-dir /var/lib/zspider"],
}


def say(machine: BootedMachine, words: str, user: str = "") -> Ran:
    """Run a verb as this user; nobody: root. No verb ends in a traceback, whoever says it."""
    runuser = ["runuser", "-u", user, "--"] if user else []
    ran = machine.run(*runuser, "zspiderd", *shlex.split(words))
    assert "Traceback" not in ran.text, str(ran)
    return ran


def test_root_the_services_user_and_a_group_may_administer_and_nobody_else(boot: Boot) -> None:
    machine = boot("administered")
    start_master(machine)
    for user in ("alice", "bob"):
        machine.must("useradd", "--create-home", user)
    for command in commands("Who may administer"):
        machine.must("sh", "-c", command)
    start_crawl(machine)
    wait_results(machine, 5)
    for user, verbs in MAY.items():
        for words in verbs:
            assert say(machine, words, user).code == 0, (words, user)
    for user, verbs in MAY_NOT.items():
        for words in verbs:
            refused = say(machine, words, user)
            assert refused.code in (2, 77), str(refused)
            assert refused.out == "", str(refused)
    for words in ("status", "results articles", "token show", "master", "fetch http://127.0.0.1:8000/article/1.html"):
        stranger = machine.run("sh", "-c", f"{UNKNOWN} zspiderd {words}")
        assert "Traceback" not in stranger.text, str(stranger)
        assert (stranger.code == 0) == words.startswith("fetch"), str(stranger)
    machine.must("zspiderd", "project", "stop", "articles")

    machine.must("systemctl", "stop", MASTER)
    for words in ("db check", "db upgrade", "results articles", "tasks articles", "token add"):
        assert say(machine, words).code == 0, words
    assert machine.must("find", "/var/lib/zspider", "!", "-user", "zspider") == "", "root leaves nothing of its own"
    machine.must("systemctl", "start", MASTER)
    eventually(lambda: slaves(machine) == 1, 30, "the service uses what root has written")


def test_a_baked_in_token_and_a_refused_setpriority_do_not_keep_the_local_slave_from_working(boot: Boot) -> None:
    machine = boot("golden")
    machine.must("sh", "-c", "umask 077; echo ZS1.of.another.cluster > /etc/zspider/join.token")
    stricter = machine.root / f"etc/systemd/system/{MASTER}.d/stricter.conf"
    stricter.parent.mkdir()
    stricter.write_text("[Service]\nSystemCallFilter=~setpriority\n")
    start_master(machine)
    start_crawl(machine)
    wait_results(machine, 10)
    assert set(results(machine).values()) == {1}
    assert graver(machine.journal(MASTER)) == []


def test_a_wrong_setting_is_refused_by_reload_and_changes_nothing(boot: Boot) -> None:
    machine = boot("reloaded")
    start_master(machine)
    before = shown(machine, MASTER, "MainPID")
    with (machine.root / "etc/zspider/master.yaml").open("a") as file:
        file.write("politness: {}\n")
    reload = machine.run("systemctl", "reload", MASTER)
    assert reload.code != 0
    said = [entry for entry in by_daemon(machine.journal(MASTER)) if "politness: unknown setting" in entry.text]
    assert [entry.priority for entry in said] == [3], "an error, and said once"
    assert shown(machine, MASTER, "MainPID") == before
    assert say(machine, "status").code == 0


def test_a_slave_without_a_token_runs_and_says_what_is_missing(
    boot: Boot, record_property: Callable[[str, object], None]
) -> None:
    machine = boot("tokenless")
    machine.must("systemctl", "enable", "--now", SLAVE)
    said = eventually(lambda: by_daemon(graver(machine.journal(SLAVE))), 20, "a complaint")
    assert [(entry.priority, "token_missing" in entry.text) for entry in said] == [(4, True)]
    assert shown(machine, SLAVE, "ActiveState") == "active"
    for unit in (MASTER, SLAVE, "zspider-slave@one.service"):
        scored = machine.run("systemd-analyze", "security", "--threshold=15", unit)
        assert scored.code == 0, scored.out[-400:]
        record_property(unit, scored.out.splitlines()[-1])
        print(scored.out.splitlines()[-1])
