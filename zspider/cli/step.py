"""`zspiderd run SCRIPT --task`: one step of a script, shown as pyspider's debugger does.

Source: docs/pyspider-behaviour.md 8.1.
"""

import json
from hashlib import md5
from pathlib import Path
from typing import Any

import click
import msgspec

from zspider.cli.config import trial_settings
from zspider.cli.output import print_json
from zspider.cli.page import as_json as page_as_json
from zspider.cli.page import head_lines
from zspider.cli.text import visible
from zspider.delivery import End, Follow, Message
from zspider.errors import ConfigError, ScriptError
from zspider.roles.trial.step import CannotLoad, Step, step
from zspider.script.check.source import read_script
from zspider.task import ON_START


def show_step(
    file: Path, task: str, callback: str | None, save: str | None, options: str | None, *, as_json: bool
) -> None:
    """Run one task and print what it led to. save, options: JSON texts.

    Raises ScriptError after all was printed when the callback failed, ConfigError for a task that cannot be made.
    """
    given = _object("--options", options) if options else {}
    if save is not None:
        given["save"] = _json("--save", save)
    url = task
    if task == ON_START:
        url, given["taskid"] = f"data:,{ON_START}", ON_START
        callback = callback or ON_START
    try:
        done = step(read_script(file), url, callback or "", given, trial_settings())
    except CannotLoad as exc:
        if not as_json:
            _echo_section("logs", exc.logs)
        raise ScriptError(f"{file}: {exc}") from exc
    if as_json:
        print_json(_as_json(done))
    else:
        _echo(done)
    if done.stepped.end is not End.SUCCESS:
        raise ScriptError(f"{file}: {done.task['process']['callback']}: {done.stepped.reason}")


def _json(flag: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ConfigError(f"{flag}: JSON is wanted, got {text!r}: {exc}") from exc


def _object(flag: str, text: str) -> dict[str, Any]:
    value = _json(flag, text)
    if not isinstance(value, dict):
        raise ConfigError(f'{flag}: a JSON object like {{"timeout": 10}} is wanted, got {text!r}')
    return value


def _echo(done: Step) -> None:
    stepped = done.stepped
    _echo_section("fetch", "\n".join(head_lines(done.page)))
    _echo_section("logs", stepped.logs)
    _echo_section(f"follows: {len(stepped.follows)}", "\n".join(_follow_line(follow) for follow in stepped.follows))
    if stepped.messages:
        lines = [_message_line(_message(each)) for each in stepped.messages]
        _echo_section(f"messages: {len(lines)}", "\n".join(lines))
    results = [json.dumps(json.loads(each), ensure_ascii=False, indent=2) for each in stepped.results]
    if not results and stepped.returned is not None:
        results = [f"none kept; the callback returned what begins with {stepped.returned!r}"]
    _echo_section("result", "\n".join(results))
    _echo_section("save", json.dumps(stepped.save, ensure_ascii=False, default=str) if stepped.save else "")
    click.echo(f"[time]\nfetch {stepped.fetch_ms} ms, process {stepped.process_ms} ms")


def _echo_section(name: str, text: str) -> None:
    """Print a heading and its text; nothing if there is no text."""
    if text.strip():
        click.echo(f"[{name}]")
        click.echo(visible(text.rstrip("\n"), len(text), keep="\n\t"))


def _follow_line(follow: Follow) -> str:
    made = _follow(follow)
    options = {**made["schedule"], **made["fetch"], **made["process"]}
    callback = options.pop("callback", None) or "__call__"
    if follow.taskid != md5(follow.url.encode(), usedforsecurity=False).hexdigest():
        options["taskid"] = follow.taskid
    shown = json.dumps(options, ensure_ascii=False, default=str) if options else ""
    return f"{callback} > {follow.url}  {shown}".rstrip()


def _follow(follow: Follow) -> dict[str, Any]:
    return {"taskid": follow.taskid, "url": follow.url, **msgspec.msgpack.decode(follow.body)}


def _message(message: Message) -> dict[str, Any]:
    _, said = msgspec.msgpack.decode(message.body)["fetch"]["save"]
    return {"project": message.receiver, "url": message.url, "message": said}


def _message_line(one: dict[str, Any]) -> str:
    return f"{one['project']} < {json.dumps(one['message'], ensure_ascii=False)}  {one['url']}"


def _as_json(done: Step) -> dict[str, Any]:
    stepped = done.stepped
    return {
        "task": done.task,
        "fetch": page_as_json(done.page),
        "logs": stepped.logs,
        "follows": [_follow(follow) for follow in stepped.follows],
        "messages": [_message(message) for message in stepped.messages],
        "results": [json.loads(each) for each in stepped.results],
        "save": stepped.save,
        "error": stepped.reason,
        "time": {"fetch_ms": stepped.fetch_ms, "process_ms": stepped.process_ms},
    }
