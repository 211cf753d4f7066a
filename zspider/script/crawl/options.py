"""Which option of `crawl()` belongs where, and how options become a task dict (docs/pyspider-behaviour.md 2.3)."""

from collections.abc import Mapping
from typing import Any

from zspider.script.crawl.multipart import encode_multipart
from zspider.script.crawl.urls import build_url, encode_params
from zspider.task import URL_BYTES_MAX

SCHEDULE = ("priority", "retries", "exetime", "age", "itag", "force_update", "auto_recrawl", "cancel")
FETCH = (
    "method",
    "headers",
    "user_agent",
    "data",
    "connect_timeout",
    "timeout",
    "allow_redirects",
    "max_redirects",
    "cookies",
    "proxy",
    "etag",
    "last_modified",
    "use_gzip",
    "validate_cert",
    "robots_txt",
    "fetch_type",
    "js_script",
    "js_run_at",
    "js_viewport_width",
    "js_viewport_height",
    "load_images",
    "save",
)
PROCESS = ("callback", "process_time_limit")
_URL_ONLY = ("params", "taskid")  # part of the URL, or of one task only
# `files` becomes the body; the last is pyspider's misspelling.
KNOWN = frozenset((*SCHEDULE, *FETCH, *PROCESS, *_URL_ONLY, "files", "last_modifed"))
_PLACES = {
    **dict.fromkeys(SCHEDULE, "schedule"),
    **dict.fromkeys(FETCH, "fetch"),
    **dict.fromkeys(PROCESS, "process"),
}


def with_defaults(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of the caller over those of @config; dicts are merged entry by entry. Nothing given is changed.

    What comes from the defaults is a copy: the script may change the task it gets.
    """
    merged = dict(options)
    for name, default in defaults.items():
        if name not in merged:
            merged[name] = copied(default)
        elif isinstance(default, dict) and isinstance(merged[name], dict):
            merged[name] = {**copied(default), **merged[name]}
    return merged


def copied(value: Any) -> Any:
    """Return a copy of nested dicts and lists; what else is in them is not copied."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def add_schedule(options: dict[str, Any], crawl_config: Mapping[str, Any]) -> None:
    """Fill gaps with the schedule keys of `crawl_config`; its other keys are merged when the task is fetched."""
    for name in SCHEDULE:
        if name in crawl_config:
            options.setdefault(name, crawl_config[name])


def add_late(task: dict[str, Any], crawl_config: Mapping[str, Any]) -> None:
    """Merge into a task the crawl_config keys that are usually merged only before its fetch; for display."""
    for part, names in (("fetch", FETCH), ("process", PROCESS)):
        task[part] = with_defaults(task[part], {name: crawl_config[name] for name in names if name in crawl_config})


def fits_a_template(options: Mapping[str, Any]) -> bool:
    """Return whether tasks with these options differ in nothing but their URL."""
    return not any(name in options for name in _URL_ONLY)


def encode_options(options: dict[str, Any]) -> None:
    """Bring complete options into the form that is stored, in place; what can be read only once is read here."""
    _encode_body(options)
    if params := options.pop("params", None):
        options["params"] = encode_params(params)
    if agent := options.get("user_agent"):
        options["headers"] = {**(options.get("headers") or {}), "User-Agent": agent}
    if "last_modifed" in options:  # a misspelling that pyspider accepted
        options.setdefault("last_modified", options.pop("last_modifed"))
    if not options.get("callback", True):
        del options["callback"]


def make_task(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Build {url, schedule, fetch, process} from encoded options.

    Raises TypeError for an unknown option, ValueError for a URL that is too long or has no ASCII form.
    """
    url = checked_url(url, options.get("params"))
    parts: dict[str, dict[str, Any]] = {"schedule": {}, "fetch": {}, "process": {}}
    unknown = []
    for name, value in options.items():
        if place := _PLACES.get(name):
            parts[place][name] = dict(value) if type(value) is dict else value  # get_taskid() may change the task
        elif name not in _URL_ONLY:
            unknown.append(name)
    if unknown:
        raise TypeError(f"crawl() got unexpected keyword argument: {', '.join(unknown)}")
    return {"url": url, **parts}


def checked_url(url: str, params: str | None = None) -> str:
    """Return the URL to store. Raises ValueError when it is too long."""
    built = build_url(url, params)
    if len(built) > URL_BYTES_MAX:  # it is ASCII
        raise ValueError(f"Maximum ({URL_BYTES_MAX}) URL length error: {len(built)} bytes")
    return built


def _encode_body(options: dict[str, Any]) -> None:
    """Make `data` (and `files`) the body that is sent; a body makes POST the default method."""
    files, data = options.pop("files", None), options.get("data")
    if files:
        body, content_type = encode_multipart(data or {}, files)
        options["data"] = body
        options["headers"] = {**(options.get("headers") or {}), "Content-Type": content_type}
    elif not data:
        options.pop("data", None)
        return
    elif not isinstance(data, str | bytes | bytearray | memoryview):
        options["data"] = encode_params(data)
    options.setdefault("method", "POST")
