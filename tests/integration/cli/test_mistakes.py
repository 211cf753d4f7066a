"""What an operator does wrong is told in lines that begin with `zspiderd:`, with the right exit code."""

import os
import signal
import subprocess
import sys

import pytest
from tests.support.cluster import ZSPIDERD
from tests.support.process import run


def zspiderd(*arguments, **more):
    return run([*ZSPIDERD, *map(str, arguments)], **more)


@pytest.fixture
def file(tmp_path):
    def file(text, name="master.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


def test_every_error_of_a_configuration_is_a_line(file):
    path = file("master:\n  prot: 1\n  port: x\nfetch:\n  timeout_s: -1\n")
    for ran in (zspiderd("check-config", path), zspiderd("master", "-c", path)):
        assert (ran.code, ran.out) == (2, "")
        lines = ran.err.splitlines()
        assert len(lines) == 3
        assert all(line.startswith(f"zspiderd: {path}: ") for line in lines)


def test_the_environment_and_flags_are_checked_like_the_file(file):
    ran = zspiderd("slave", "--processors", "many", env={"ZSPIDER_SLAVE__WINDOW": "-1", "ZSPIDER_SLAVE__X": "1"})
    assert ran.code == 2
    assert [line.split(": ")[1] for line in sorted(ran.err.splitlines())] == [
        "--processors",
        "ZSPIDER_SLAVE__WINDOW",
        "ZSPIDER_SLAVE__X",
    ]


def test_a_good_configuration_is_said_to_be_one(file):
    ran = zspiderd("check-config", file("slave: {master: 10.0.0.1}\n", "slave.yaml"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("slave.yaml: a valid configuration of a slave\n")


def test_an_open_master_is_refused_before_it_starts(file):
    ran = zspiderd("check-config", file("master: {bind: 0.0.0.0, security: none}\n"))
    assert ran.code == 2
    assert "i_know_this_is_open" in ran.err
    ran = zspiderd("check-config", file("master: {bind: 0.0.0.0, security: none, i_know_this_is_open: true}\n"))
    assert ran.code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["mastre"], "No such command 'mastre'"),
        (["master", "--prot", "1"], "No such option"),
        (["run"], "Missing argument 'SCRIPT'"),
        (["check-config", "/none/of/this.yaml"], "cannot be read: No such file or directory"),
        (["run", "/none/of/this.py"], "cannot be read: No such file or directory"),
        (["project", "push", "--name", "x", "a.py", "b.py"], "--name is for one file, got 2"),
        (["project", "set", "x"], "nothing to change"),
        (["token", "list", "--data-dir", "/none"], "no such directory"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, text):
    ran = zspiderd(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("zspiderd: ")
    assert ran.err.count("\n") == 1
    assert text in ran.err


def test_a_script_that_does_not_compile_is_not_pushed(tmp_path):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("x = 1\n")
    bad.write_text("x = 1\ndef f(:\n")
    for arguments in (["project", "push", good, bad], ["run", bad]):
        ran = zspiderd(*arguments)  # there is no master to push to: it did not come so far
        assert (ran.code, ran.err) == (1, f"zspiderd: {bad}:2: SyntaxError: invalid syntax\n")
    assert not (tmp_path / "bad.py.zspider").exists()


def test_an_admin_verb_without_a_token_says_where_to_get_one(tmp_path):
    ran = zspiderd("status", "--data-dir", tmp_path)
    assert ran.code == 77
    assert ran.err.startswith(f"zspiderd: no admin token in {tmp_path}: ")
    assert ran.err.count("\n") == 1


def test_run_leaves_a_directory_alone_that_it_did_not_make(tmp_path):
    script = tmp_path / "books.py"
    script.write_text("x = 1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/zspider.db").write_text("precious")
    ran = zspiderd("run", script, "--fresh", "--data-dir", tmp_path / "data")
    assert ran.code == 2
    assert "was not made by `zspiderd run`" in ran.err
    assert (tmp_path / "data/zspider.db").read_text() == "precious"


HEAVY = ("sqlalchemy", "alembic", "pymysql")


@pytest.mark.parametrize(
    "verb",
    [
        "--version",
        "--help",
        "slave --help",
        "run --help",
        "project --help",
        "status --help",
        "fetch data:,x",
        "check --help",
    ],
)
def test_a_verb_imports_no_database_that_it_does_not_need(verb):
    code = (
        "import sys\nfrom zspider.cli import main\n"
        f"main({verb.split()!r})\n"
        f"print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    ran = run([sys.executable, "-c", code])
    assert ran.code == 0, ran
    assert ran.out.splitlines()[-1] == "LOADED"


def test_the_slave_and_its_processors_import_no_database():
    code = (
        "import sys\nimport zspider.cli.daemon, zspider.roles.slave.daemon, zspider.roles.processor.loop\n"
        f"print('LOADED', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    assert run([sys.executable, "-c", code]).out.splitlines()[-1] == "LOADED"


def test_the_version_is_told():
    from zspider import __version__

    assert zspiderd("--version").out == f"zspiderd, version {__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    argv = [*ZSPIDERD, "demo-site", "--export", str(tmp_path), "--pages", "1"]
    ran = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")
