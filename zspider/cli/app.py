"""The command itself: finds the verb, runs it, and turns what went wrong into one line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from zspider import __version__
from zspider.cli.journal import graded, is_journal
from zspider.cli.log_stream import LogStream
from zspider.cli.text import visible
from zspider.errors import ExitCode, ZspiderError, is_shortage, reason_of

INTERRUPTED = 130  # 128 + SIGINT, as shells count
PIPE_CLOSED = 141  # 128 + SIGPIPE: `zspiderd results ... | head` is no failure of ours

# verb -> module under zspider.cli, and the line in `zspiderd --help`. Modules are imported when their verb
# is used: a slave must not pay for a database, nor `--version` for anything.
VERBS = {
    "master": ("daemon", "Run the master: it owns the database and decides."),
    "slave": ("daemon", "Run a slave: it fetches and processes for a master."),
    "run": ("run", "Crawl with one script on this machine, then exit."),
    "fetch": ("fetch", "Fetch a URL and show what a script would see."),
    "shell": ("shell", "Open a Python prompt with a fetched page."),
    "check": ("check", "Check scripts, and list differences from pyspider."),
    "demo-site": ("demo_site", "Serve a generated site to crawl."),
    "project": ("project", "Push, list, show, change, start, stop and remove projects."),
    "send-message": ("send_message", "Send a message to a project's on_message."),
    "status": ("status", "Show slaves, rates and projects."),
    "hosts": ("hosts", "Ask a host again that is left alone."),
    "why": ("why", "Show what a project or a task is waiting for."),
    "tasks": ("tasks", "List a project's tasks; add, retry, recrawl or drop them."),
    "task": ("tasks", "Show, retry or delete one task."),
    "results": ("results", "Export a project's results, or clear them."),
    "token": ("token", "Show, add, list and revoke tokens."),
    "db": ("db", "Upgrade or check the database's schema."),
    "check-config": ("daemon", "Check a configuration file."),
}


class _ReaderGone(Exception):
    """Our standard output was closed."""


class Verbs(click.Group):
    """The group of verbs; each is imported only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb and return it; None for an unknown name."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"zspider.cli.{VERBS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; a closed standard output ends it quietly."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as exc:
            raise _ReaderGone from exc  # click would make exit code 1 of it

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in VERBS.items()])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zspiderd")
def zspiderd() -> None:
    """zspider: a web-crawling daemon. One master decides, any number of slaves fetch and process.

    \b
    zspiderd run script.py               everything on this machine, then exit
    zspiderd master -c conf/master.yaml  the master
    zspiderd slave --master 192.168.1.3  on every other machine

    Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 69 master or database not reachable,
    71 out of descriptors, processes, memory or disk space, 75 another master owns the database, 77 not allowed,
    128 + N stopped by signal N.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code; an operator's mistake is one line per problem, never a traceback."""
    try:
        _open_standard_streams()
        ended = zspiderd.main(args=arguments, prog_name="zspiderd", standalone_mode=False)
        sys.stdout.flush()
    except ZspiderError as exc:
        return _complain(str(exc), exc.exit_code)
    except click.UsageError as exc:
        path = exc.ctx.command_path if exc.ctx else "zspiderd"
        return _complain(f"{exc.format_message()} (see {path} --help)", ExitCode.USAGE)
    except click.ClickException as exc:
        return _complain(exc.format_message(), exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (BrokenPipeError, _ReaderGone):
        _forget_output()
        return PIPE_CLOSED
    except (OSError, MemoryError, RuntimeError) as exc:
        if not is_shortage(exc):
            raise
        _forget_output()
        return _complain(f"cannot go on: {reason_of(exc)}", ExitCode.SHORTAGE)
    return int(ended) if isinstance(ended, int) else ExitCode.OK


def _forget_output() -> None:
    """Drop what standard output did not take, or the interpreter's own flush at its end would fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null, so that no other file of ours is taken for one."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _complain(text: str, exit_code: int) -> int:
    lines = "\n".join(f"zspiderd: {visible(line)}" for line in text.splitlines() or [""])
    LogStream(sys.stderr).write((graded(lines, "error") if is_journal(sys.stderr) else lines) + "\n")
    return int(exit_code)
