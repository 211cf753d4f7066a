"""Scripts under test: loaded from text and run with a page, without processes."""

from textwrap import dedent
from typing import Any

import msgspec
from zspider.delivery import Follow
from zspider.script.loader import LoadedScript, load
from zspider.script.pyspider import shim
from zspider.script.runner import RunResult, run

STAR = "from pyspider.libs.base_handler import *\n"


def loaded(text: str, name: str = "demo", status: str = "RUNNING") -> LoadedScript:
    """Load a script; pyspider's star import is put before it."""
    shim.install()
    return load({"name": name, "status": status}, STAR + dedent(text))


def handler_of(body: str) -> LoadedScript:
    """Load a script of one handler with this class body."""
    indented = "\n".join("    " + line for line in dedent(body).strip("\n").splitlines())
    return loaded(f"class Handler(BaseHandler):\n{indented}\n")


def page(
    callback: str | None = "page", content: bytes = b"", **result: Any
) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Task, fetch result and content for `run`."""
    url = result.pop("url", "http://site.example/dir/page.html")
    task = {"taskid": "t1", "project": "demo", "url": url, "schedule": {}, "fetch": {}, "process": {}}
    if callback is not None:
        task["process"] = {"callback": callback}
    if "track" in result:
        task["track"] = result.pop("track")
    if "process" in result:
        task["process"].update(result.pop("process"))
    task["schedule"].update(result.pop("schedule", {}))
    return (
        task,
        {"status_code": 200, "url": url, "orig_url": url, "headers": {}, "cookies": {}, "time": 0.01} | result,
        content,
    )


def ran(body: str, callback: str | None = "page", content: bytes = b"", **result: Any) -> RunResult:
    """Run one callback of a handler with this class body."""
    return run(handler_of(body), *page(callback, content, **result))


def crawled(call: str, body: str = "") -> list[dict[str, Any]]:
    """What `self.<call>` in a callback made: the follows' fields, their bodies unpacked. Fails if the run failed."""
    methods = "def page(self, response): pass\ndef go(self, response):\n    self.task['made'] = self." + call
    outcome = ran(dedent(body) + "\n" + methods, "go")
    assert not outcome.reason, outcome.reason
    return [opened(follow) for follow in outcome.follows]


def opened(follow: Follow) -> dict[str, Any]:
    """A follow as a dict, its body unpacked into it."""
    fields = msgspec.structs.asdict(follow)
    return fields | msgspec.msgpack.decode(fields.pop("body"))


def track_of(outcome: RunResult) -> dict[str, Any]:
    """The unpacked track of a run."""
    assert outcome.track is not None
    return msgspec.msgpack.decode(outcome.track)  # type: ignore[no-any-return]
