"""Settings from file, environment and flags: who wins, and what a mistake is told."""

from pathlib import Path

import pytest
from zspider.cli.config import kind_of, leaves, load
from zspider.errors import ConfigError, ExitCode
from zspider.settings import MasterFile, SlaveFile


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "master.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_defaults_hold_when_nobody_says_anything():
    assert load(MasterFile, environment={}) == MasterFile()
    assert load(SlaveFile, environment={}) == SlaveFile()


def test_flags_come_before_the_environment_and_the_environment_before_the_file(write):
    file = write("master:\n  port: 6001\n  lease_s: 40\n  adopt_s: 7\n")
    environment = {"ZSPIDER_MASTER__PORT": "6002", "ZSPIDER_MASTER__LEASE_S": "41"}
    settings = load(MasterFile, file, {"master.port": "6003", "master.bind": None}, environment)
    assert (settings.master.port, settings.master.lease_s, settings.master.adopt_s) == (6003, 41.0, 7.0)
    assert settings.master.bind == "127.0.0.1"  # a flag that was not given says nothing


def test_the_environment_reaches_every_setting_of_both_files():
    for kind in (MasterFile, SlaveFile):
        for path in leaves(kind):
            name = "ZSPIDER_" + "__".join(path).upper()
            load(kind, environment={name: ""})  # known, and empty counts as not set
            with pytest.raises(ConfigError, match=f"{name}X: unknown setting"):
                load(kind, environment={f"{name}X": "1"})


def test_one_environment_serves_a_master_and_a_slave():
    environment = {"ZSPIDER_MASTER__PORT": "6000", "ZSPIDER_TOKEN_FILE": "/t", "ZSPIDER_TOKEN": "ZS1.x"}
    assert load(MasterFile, environment=environment).master.port == 6000
    assert load(SlaveFile, environment=environment).token_file == Path("/t")


def test_a_list_may_be_given_with_commas(write):
    assert load(SlaveFile, flags={"slave.roles": "fetcher"}, environment={}).slave.roles == ("fetcher",)
    assert load(SlaveFile, environment={"ZSPIDER_SLAVE__ROLES": "fetcher, processor"}).slave.roles == (
        "fetcher",
        "processor",
    )
    assert load(SlaveFile, write("slave: {roles: [processor]}"), environment={}).slave.roles == ("processor",)


def test_a_section_with_all_its_settings_commented_out_is_empty(write):
    assert load(MasterFile, write("master:\n  # port: 1\nlog:\n"), environment={}) == MasterFile()


MISTAKES = {
    "an unknown key lists the known ones": (
        "master: {prot: 5570}",
        r"master\.prot: unknown setting; did you mean port\? known are: adopt_s, bind, .*, suspect_s$",
    ),
    "an unknown section": (
        "masters: {port: 1}",
        r"masters: unknown setting; did you mean master\? known are: data_dir,",
    ),
    "a wrong type": ("master: {port: five}", r"master\.port: should be a valid integer.*, got 'five'$"),
    "a number out of range": (
        "master: {port: 70000}",
        r"master\.port: should be less than or equal to 65532, got 70000$",
    ),
    "a word that is not allowed": (
        "master: {security: tls}",
        r"master\.security: should be 'curve' or 'none', got 'tls'$",
    ),
    "a value where a section should be": ("master: 5570", r"master: should be a group of settings, got 5570$"),
    "a list with a wrong word": ("slave: {roles: [browser]}", r"slave\.roles\.0: .*, got 'browser'$"),
    "bad YAML": ("master:\n  port: [1\nlog: {}\n", r"master\.yaml:3: is not YAML: "),
    "a tab": ("master:\n\tport: 1\n", r"master\.yaml:2: is not YAML: "),
    "a list of settings": ("- port\n", r"master\.yaml: must hold settings as `name: value`, not a list$"),
    "a key twice": (
        "master:\n  port: 1\n  port: 2\n",
        r"master\.yaml:3: is not YAML: 'port' stands here a second time",
    ),
    "times that contradict": (
        "master: {lease_s: 10}",
        r"master\.quiet_s: must be below master\.lease_s \(10\), got 20$",
    ),
}


@pytest.mark.parametrize(("text", "pattern"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_path_and_value(write, text, pattern):
    with pytest.raises(ConfigError, match=pattern) as caught:
        load(MasterFile, write(text), environment={})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(write(text))) or "must be below" in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_all_mistakes_are_told_at_once_each_with_where_it_comes_from(write):
    file = write("frontier: {window: 1}\nlog: {level: loud}\n")
    with pytest.raises(ConfigError) as caught:
        load(MasterFile, file, {"master.port": "x", "log.format": "xml"}, {"ZSPIDER_STORAGE__COMMIT_MS": "-1"})
    lines = sorted(str(caught.value).splitlines())
    assert [line.split(": ")[:2] for line in lines] == [
        ["--log-format", "log.format"],
        ["--port", "master.port"],
        [str(file), "frontier.window"],
        [str(file), "log.level"],
        ["ZSPIDER_STORAGE__COMMIT_MS", "storage.commit_ms"],
    ]


def test_a_missing_or_unreadable_file_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory$"):
        load(MasterFile, tmp_path / "none.yaml", environment={})
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load(MasterFile, tmp_path, environment={})
    (tmp_path / "latin.yaml").write_bytes(b"database: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml: is not UTF-8 text"):
        load(MasterFile, tmp_path / "latin.yaml", environment={})


def test_a_password_is_not_repeated(write):
    with pytest.raises(ConfigError) as caught:
        load(
            MasterFile,
            write("database: [mysql://crawler:geheim@db/z]\nfetch: {proxy: {a: 'u:geheim@p'}}"),
            environment={},
        )
    assert "geheim" not in str(caught.value)
    assert "database: should be a valid string, got ***@db/z" in str(caught.value)


def test_the_kind_of_a_file_is_told_by_its_name_or_by_what_only_a_slave_has(write):
    assert kind_of(write("log: {}")) is MasterFile
    assert kind_of(write("log: {}", "slave.yaml")) is SlaveFile
    assert kind_of(write("token_file: /x", "zspider.yaml")) is SlaveFile


def test_a_mistake_in_a_rule_of_politeness_is_named_by_its_place(tmp_path):
    file = tmp_path / "master.yaml"
    file.write_text("politeness: {rules: [{match: a.example}, {match: b.example, concurency: 2, delay_s: -1}]}")
    with pytest.raises(ConfigError) as caught:
        load(MasterFile, file, environment={})
    text = str(caught.value)
    assert "politeness.rules.1.concurency: unknown setting; did you mean concurrency?" in text
    assert "politeness.rules.1.delay_s: should be greater than or equal to 0, got -1" in text
