"""`zspiderd check`: what scripts need, their problems, and where zspider behaves differently."""

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from zspider.cli.config import trial_settings
from zspider.cli.output import json_option, print_json
from zspider.cli.text import visible
from zspider.errors import ExitCode
from zspider.roles.trial.child import Described
from zspider.roles.trial.step import CannotLoad, describe
from zspider.script.check.review import Review, missing, review
from zspider.script.check.source import ScriptFile, open_script
from zspider.script.check.syntax import Finding
from zspider.script.trial import NO_SCRIPT
from zspider.settings import SlaveFile


@dataclass(slots=True)
class Report:
    """The report on one script."""

    file: str
    handler: str = ""  # "": it could not be loaded
    methods: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)  # name, @config, seconds of @every
    crawl_config: dict[str, Any] = field(default_factory=dict)
    rate: float | None = None
    burst: float | None = None
    modules: dict[str, bool] = field(default_factory=dict)  # name -> whether it is here
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> int:
        """How many findings keep the script from running."""
        return sum(one.stops for one in self.findings)


@click.command()
@click.argument("scripts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCRIPT...")
@json_option
def check(scripts: tuple[Path, ...], as_json: bool) -> int:
    """Check scripts without running a task: syntax, handler, modules, and where zspider behaves differently.

    Each script is loaded in a process of its own, as a processor loads it. Exits with 1 if a script has a problem that
    keeps it from running.
    """
    settings = trial_settings()
    files = [open_script(script) for script in scripts]  # all of them, before anything is said
    reports = [report_on(file, settings) for file in files]
    if as_json:
        print_json([_as_json(report) for report in reports])
    else:
        for report in reports:
            for line in lines_of(report):
                click.echo(visible(line))
    return int(ExitCode.FAILED if any(report.problems for report in reports) else ExitCode.OK)


def report_on(file: ScriptFile, settings: SlaveFile) -> Report:
    """Read a script, and load it in a process of its own if it compiles."""
    read = review(file.text)
    report = Report(str(file.path), rate=file.rate, burst=file.burst, findings=list(read.findings))
    modules = [one.module for one in read.imports]
    failure: CannotLoad | None = None
    try:
        # One that does not compile is not loaded, but which modules it needs is known.
        described = describe(file if read.is_complete else replace(file, text=NO_SCRIPT), modules, settings)
    except CannotLoad as exc:
        failure, absent = exc, set(exc.missing_modules)
    else:
        absent = set(described.missing_modules)
        if read.is_complete:
            _take(report, described, read)
    report.modules = {name: name not in absent for name in modules}
    gone = [missing(one) for one in read.imports if one.module in absent and not one.is_optional]
    report.findings += gone
    if failure and not (gone and "No module named" in str(failure)):  # else it is told already
        report.findings.append(Finding(_line_of(failure, file.name), True, f"cannot be loaded: {failure}"))
    report.findings.sort()
    return report


def _take(report: Report, described: Described, read: Review) -> None:
    """Add to the report what loading the script has shown."""
    report.handler, report.methods = described.handler, described.methods
    report.crawl_config = described.crawl_config
    report.findings += [
        Finding(one.line, True, f"the callback {one.name} is no method of {described.handler}")
        for one in read.callbacks
        if one.name not in described.known
    ]


def _line_of(failure: CannotLoad, name: str) -> int:
    """Return the last line of the script in the traceback."""
    frames = re.findall(rf'File "<{re.escape(name)}>", line (\d+)', failure.logs)
    return int(frames[-1]) if frames else 1


def lines_of(report: Report) -> list[str]:
    """Return a report for people."""
    notes = len(report.findings) - report.problems
    verdict = f"{report.problems} problems, {notes} notes" if report.findings else "ok"
    lines = [f"{report.file}: {verdict}"]
    if report.handler:
        lines.append(f"  handler {report.handler}")
    for name, options, every in report.methods:
        marks = [f"every {every}"] if every else []
        marks += [f"{key}={value!r}" for key, value in options.items()]
        lines.append(f"    {name}  {', '.join(marks)}".rstrip())
    for word, value in (("rate", report.rate), ("burst", report.burst)):
        if value is not None:
            lines.append(f"  {word} {value:g}")
    if report.modules:
        told = [module if is_here else f"{module} (missing here)" for module, is_here in report.modules.items()]
        lines.append(f"  modules {', '.join(told)}")
    return lines + [f"  line {one.line}: {'problem' if one.stops else 'note'}: {one.text}" for one in report.findings]


def _as_json(report: Report) -> dict[str, Any]:
    methods = [{"name": name, "config": options, "every": every or None} for name, options, every in report.methods]
    findings = [
        {"line": one.line, "kind": "problem" if one.stops else "note", "text": one.text} for one in report.findings
    ]
    return {**asdict(report), "methods": methods, "findings": findings, "problems": report.problems}
