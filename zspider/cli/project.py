"""`zspiderd project`: push, list, start, stop and remove projects."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zspider.cli.bulk import confirm, counted, dry_run_option, yes_option
from zspider.cli.client import Target, source_options, target_options
from zspider.cli.output import json_option, moment, print_fields, print_json, print_table
from zspider.cli.windows import print_windows
from zspider.errors import ConfigError, MasterUnavailable
from zspider.script.check.source import read_script
from zspider.task import ProjectStatus, Status

if TYPE_CHECKING:
    from zspider.broker.admin import AdminClient

COLUMNS = {
    "name": "NAME",
    "status": "STATUS",
    "group": "GROUP",
    "rate": "RATE",
    "burst": "BURST",
    "done": "DONE",
    "waiting": "WAITING",
    "failed": "FAILED",
    "leased": "LEASED",
    "results": "RESULTS",
    "note": "NOTE",
}
status_option = click.option(
    "--status", type=click.Choice(list(ProjectStatus.__members__)), help="New status of the project."
)
rate_option = click.option("--rate", type=click.FloatRange(0), help="Tasks per second.")
burst_option = click.option("--burst", type=click.FloatRange(0), help="Tasks that may start at once after a pause.")
group_option = click.option(
    "--group", help="Words to sort projects by; `delete` has a stopped project deleted after a day."
)


@click.group()
def project() -> None:
    """Push, list, show, start, stop, pause, change and remove projects."""


@project.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--name", help="The project's name.  [default: the file's, without .py]")
@status_option
@rate_option
@burst_option
@group_option
@target_options
@json_option
def push(
    files: tuple[Path, ...],
    name: str | None,
    status: str | None,
    rate: float | None,
    burst: float | None,
    group: str | None,
    target: Target,
    as_json: bool,
) -> None:
    """Send scripts to the master.

    A new project is RUNNING; a known one gets a new version and keeps its status. Each file is compiled first; if one
    does not compile, nothing is pushed. `# rate: 5` and `# burst: 10` lines in a script apply unless a flag is given.
    `zspiderd project start NAME` then runs on_start.
    """
    if name and len(files) > 1:
        raise ConfigError(f"--name is for one file, got {len(files)}")
    scripts = [read_script(file, name) for file in files]
    rows = []
    with target.connect() as admin:
        for script in scripts:
            asked_rate, asked_burst = script.rates(rate, burst)
            options = {"status": status, "rate": asked_rate, "burst": asked_burst, "group": group}
            row = admin.call("project.push", name=script.name, script=script.text, **options)
            if status and row["status"] != status:  # pushing keeps a known project's status; here it was asked for
                row |= admin.call("project.set", name=script.name, status=status)
            rows.append(row)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        what = "new" if row["created"] else "new version"
        click.echo(f"{row['name']}: {what}, {row['status']}, rate {row['rate']:g}/s, burst {row['burst']:g}")


@project.command("list")
@source_options
@json_option
def list_projects(target: Target, as_json: bool) -> None:
    """List all projects. Works without a master when the SQLite database is on this machine (--data-dir)."""
    with target.source() as source:
        rows = source.call("project.list")["rows"]
    if as_json:
        print_json(rows)
    else:
        print_table([flat(row) for row in rows], COLUMNS)
        print_windows(rows)


@project.command()
@click.argument("name")
@source_options
@json_option
def show(name: str, target: Target, as_json: bool) -> None:
    """Show a project and its script. Works without a master as `project list` does."""
    with target.source() as source:
        row = source.call("project.show", name=name)
    if as_json:
        print_json(row)
        return
    fields = {key: row[key] for key in ("name", "status", "group", "rate", "burst")}
    fields |= {"updated": moment(row["updated_ms"]), **row["counts"], "last @every": _last_cron(row["cron"])}
    print_fields(fields | {"note": _note(row), "error": row["script_error"], **_declared(row["declared"])})
    print_windows([row])
    click.echo()
    print_fields({"script": row["script"]})


@project.command()
@click.argument("name")
@target_options
@json_option
def start(name: str, target: Target, as_json: bool) -> None:
    """Make a project RUNNING and run its on_start now."""
    _changed(target, as_json, "project.start", name=name)


@project.command()
@click.argument("name")
@target_options
@json_option
def stop(name: str, target: Target, as_json: bool) -> None:
    """Stop a project; results of tasks under way still count."""
    _changed(target, as_json, "project.stop", name=name)


@project.command()
@click.argument("name")
@target_options
@json_option
def pause(name: str, target: Target, as_json: bool) -> None:
    """Pause a project's pages.

    Its @every methods and messages go on; `resume` ends the pause.
    """
    _changed(target, as_json, "project.pause", name=name)


@project.command()
@click.argument("name")
@target_options
@json_option
def resume(name: str, target: Target, as_json: bool) -> None:
    """Resume a project without running its on_start.

    It may have been paused (by hand or by itself), stopped or edited.
    """
    _changed(target, as_json, "project.resume", name=name)


@project.command("set")
@click.argument("name")
@status_option
@rate_option
@burst_option
@group_option
@target_options
@json_option
def change(
    name: str,
    status: str | None,
    rate: float | None,
    burst: float | None,
    group: str | None,
    target: Target,
    as_json: bool,
) -> None:
    """Change a project's status, rate, burst or group."""
    if all(value is None for value in (status, rate, burst, group)):
        raise ConfigError("nothing to change: give --status, --rate, --burst or --group")
    _changed(target, as_json, "project.set", name=name, status=status, rate=rate, burst=burst, group=group)


@project.command()
@click.argument("name")
@click.option("--keep-results", is_flag=True, help="Delete the tasks only.")
@dry_run_option
@yes_option
@target_options
@json_option
def rm(name: str, keep_results: bool, dry_run: bool, yes: bool, target: Target, as_json: bool) -> None:
    """Stop a project and delete it.

    Its tasks are deleted, and its results unless --keep-results is given. This is done in small batches while other
    projects go on. Once begun, the master finishes it even after a restart: Ctrl-C only ends the waiting.
    """
    with target.connect() as admin:
        counts = admin.call("project.show", name=name)["counts"]
        tasks = sum(counts.get(status.word, 0) for status in Status)
        results = 0 if keep_results else counts.get("results", 0)
        what = f"{counted(tasks, 'task')} and {counted(results, 'result')}"
        if not dry_run:
            confirm(f"Delete {name} with {what}?", yes=yes)
            _remove(admin, name, keep_results=keep_results)
    if as_json:
        print_json({"project": name, "tasks": tasks, "results": results, "dry_run": dry_run})
    else:
        click.echo(f"{name}: {what} would be removed" if dry_run else f"{name}: removed")


def _remove(admin: "AdminClient", name: str, *, keep_results: bool) -> None:
    from zspider.broker.admin import remove_project

    try:
        remove_project(admin, name, keep_results=keep_results)
    except (KeyboardInterrupt, MasterUnavailable):
        click.echo(
            f"{name}: what was begun the master goes on with alone; `zspiderd project list` shows how far it is",
            err=True,
        )
        raise


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a project row as the table shows it."""
    note = _note(row) if row["removing"] else row["script_error"] or _note(row)
    return {**row, **row["counts"], "note": note}


def _note(row: dict[str, Any]) -> str:
    """Return what holds a project back, its script apart."""
    notes = []
    if (removing := row["removing"]) is not None:
        notes.append(f"removing: {counted(removing['left'], 'row')} left")
    if (paused := row["paused"]) is not None:
        until = "tried with a few pages" if paused["phase"] == "probing" else f"until {moment(paused['until_ms'])}"
        notes.append(f"paused, {until}: {paused['reason']}")
    if (failure := row["script_failure"]) is not None and row["script_error"]:
        again = f"; tried again {moment(failure['until_ms'])}" if failure["until_ms"] else ""
        notes.append(f"not loaded on {failure['host']}{again}")
    if row["full"]:
        notes.append("queue full: new URLs are refused (limits.waiting)")
    if row["limited"]:
        notes.append("limited by its rate")
    return "; ".join(notes)


def _declared(declared: dict[str, Any] | None) -> dict[str, str]:
    """Return what a slave has told that the script declares, and who that was."""
    if declared is None:
        return {"declares": "not known: a slave is asked when it may run"}
    told, fields = declared["told"], {"declares": json.dumps(declared["crawl_config"], ensure_ascii=False, default=str)}
    if declared["retry_delay"]:
        fields["retry_delay"] = json.dumps(declared["retry_delay"])
    if told:
        token = f" with token {told['token']}" if told["token"] else ""
        fields["told"] = f"{moment(told['at_ms'])} by a slave on {told['host']}{token}"
    return fields


def _last_cron(cron: dict[str, Any] | None) -> str:
    """Return when @every methods ran last, and how that ended; "" if they did not since the master's start."""
    return "" if cron is None else f"{moment(cron['ended_ms'])}  {cron['error'] or 'ok'}"


def _changed(target: Target, as_json: bool, verb: str, **args: Any) -> None:
    with target.connect() as admin:
        row = admin.call(verb, **args)
    if as_json:
        print_json(row)
    else:
        click.echo(f"{row['name']}: {row['status']}, rate {row['rate']:g}/s, burst {row['burst']:g}")
