"""BaseHandler: what a user's script subclasses, and `crawl()` (pyspider.md 2.2, 2.3, 2.7)."""

import logging
from collections.abc import Callable, Iterable, Mapping
from hashlib import md5
from math import gcd
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from zspider.script.arity import call
from zspider.script.collector import Collector
from zspider.script.cron import is_due, whole_tick
from zspider.script.curl import curl_to_arguments
from zspider.script.follow import Schedule, checked_taskid, make_follow, pack_body, read_schedule
from zspider.script.message import make_message
from zspider.script.options import (
    SCHEDULE,
    add_late,
    add_schedule,
    checked_url,
    copied,
    encode_options,
    fits_a_template,
    make_task,
    with_defaults,
)
from zspider.task import MESSAGE_URL, Follow

if TYPE_CHECKING:
    from zspider.script.response import Response


class BaseHandlerMeta(type):
    """Collects the @every methods of a handler and its bases."""

    _cron_jobs: list[Callable[..., Any]]
    _min_tick: int

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
        found: list[Any] = [getattr(cls, name, None) for name in names]  # an override without @every is no cron job
        cls._cron_jobs = [job for job in found if getattr(job, "is_cronjob", False) is True]
        cls._min_tick = gcd(*(whole_tick(job) for job in cls._cron_jobs))


class _Template(NamedTuple):
    """What tasks with the same callback, and no other option, have in common."""

    parts: dict[str, dict[str, Any]]
    body: bytes
    guarded_body: bytes  # of tasks that a public page has led to
    schedule: Schedule
    crawl_config: dict[str, Any]  # its schedule keys, as they were


class BaseHandler(metaclass=BaseHandlerMeta):
    """The base of every script's handler. One instance per project and process; it is reused for every task."""

    crawl_config: ClassVar[Any] = {}
    retry_delay: ClassVar[Any] = {}
    project_name: Any = None
    project: Any = None
    task: Any = None
    response: Any = None
    save: Any = None
    logger: logging.Logger = logging.getLogger("zspider.script")
    __env__: Mapping[str, Any] = {}  # never written to: the loader gives each instance its own
    _run: Collector | None = None  # set while a task runs

    def crawl(self, url: Any, **kwargs: Any) -> Any:
        """Submit a URL, or several with the same options (pyspider.md 2.3).

        Returns the task dict of a str, a list of them for an iterable or a curl command, None for anything else.
        A URL that this run submitted already is not submitted again. None among the URLs is skipped and logged.
        Raises RuntimeError outside a task, TypeError for an unknown option, NotImplementedError for a callback
        that the handler does not have.
        """
        run = self._run
        if run is None:
            raise RuntimeError("crawl() works only while a task runs")
        if isinstance(url, str):
            if not url.startswith("curl "):
                return self._submit(run, url, self._prepared(kwargs))
            arguments = curl_to_arguments(url)
            return self._submit_all(run, arguments.pop("urls"), {**arguments, **kwargs})
        if isinstance(url, bytes | bytearray):
            raise TypeError("crawl() needs text, not bytes")
        return self._submit_all(run, url, kwargs) if isinstance(url, Iterable) else None

    def _submit_all(self, run: Collector, urls: Iterable[Any], options: dict[str, Any]) -> list[dict[str, Any]]:
        tasks = []
        prepared = None
        for url in urls:
            if isinstance(url, str):
                prepared = self._prepared(options) if prepared is None else prepared
                tasks.append(self._submit(run, url, prepared))
            elif url is None:
                self.logger.warning("crawl() was given None among its URLs: skipped")
            else:
                raise TypeError(f"crawl() needs URLs as text, not {type(url).__name__}")
        return tasks

    def _prepared(self, options: dict[str, Any]) -> "_Template | dict[str, Any]":
        """What does not depend on the URL: a template where one fits, else the complete options."""
        if not options or (len(options) == 1 and "callback" in options):
            template = self._template(options.get("callback"))
            if template is not None and not self.is_debugger():
                return template
        return self._complete(options)

    def _submit(self, run: Collector, url: str, prepared: "_Template | dict[str, Any]") -> dict[str, Any]:
        if isinstance(prepared, _Template):
            return self._submit_like(run, url, prepared)
        task = {"project": self.project_name, **make_task(url, prepared)}
        if self.is_debugger():
            add_late(task, self.crawl_config or {})
        task["taskid"] = taskid = checked_taskid(prepared.get("taskid") or self.get_taskid(task))
        if run.is_new(taskid):
            run.add(make_follow(task, run.guarded))
        return task

    def _submit_like(self, run: Collector, url: str, template: _Template) -> dict[str, Any]:
        """The short way: everything but the URL is packed already."""
        url = checked_url(url)
        parts = template.parts
        schedule, fetch, process = parts["schedule"].copy(), copied(parts["fetch"]), parts["process"].copy()
        task = {"project": self.project_name, "url": url, "schedule": schedule, "fetch": fetch, "process": process}
        task["taskid"] = taskid = checked_taskid(self.get_taskid(task))
        if run.is_new(taskid):
            # get_taskid() may have changed the task
            is_same = schedule == parts["schedule"] and fetch == parts["fetch"] and process == parts["process"]
            body = template.guarded_body if run.guarded else template.body
            run.add(Follow(taskid, url, body, *template.schedule) if is_same else make_follow(task, run.guarded))
        return task

    def _template(self, callback: Any) -> _Template | None:
        """The template for a callback, made once per `crawl_config`; None when its @config is about single URLs."""
        name = self._callback_name(callback) if callback else None
        config = self.crawl_config
        wanted = {key: config[key] for key in SCHEDULE if key in config} if config else {}
        templates: dict[str | None, _Template | None] = self.__dict__.setdefault("_templates", {})
        template = templates.get(name)
        if name in templates and (template is None or template.crawl_config == wanted):
            return template
        template = None
        options = self._complete({"callback": name})
        if fits_a_template(options):
            task = make_task("http://template/", options)
            parts = {part: copied(task[part]) for part in ("schedule", "fetch", "process")}
            bodies = pack_body(task), pack_body(task, guarded=True)
            template = _Template(parts, *bodies, read_schedule(task["schedule"]), wanted)
        templates[name] = template
        return template

    def _complete(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options encoded, with the callback by name, @config and crawl_config's schedule keys filled in."""
        options = dict(options)
        if callback := options.get("callback"):
            options["callback"] = self._callback_name(callback)
            options = with_defaults(options, getattr(getattr(self, options["callback"]), "_config", {}))
        if self.crawl_config:
            add_schedule(options, self.crawl_config)
        encode_options(options)
        return options

    def _callback_name(self, callback: Any) -> str:
        name = callback if isinstance(callback, str) else getattr(callback, "__name__", repr(callback))
        if callable(getattr(self, name, None)):
            return str(name)
        raise NotImplementedError(f"self.{name}() not implemented!")

    def send_message(self, project: str, msg: Any, url: str = MESSAGE_URL) -> None:
        """Have `on_message` of a project called with `msg`, once this run has ended; your own project may be named.

        msg: JSON-like, as `save` of crawl(). url: what on_message returns is stored as the result of this URL, and
        replaces what was stored of it before. A project that does not exist gets nothing, and the master's log says so.
        Raises RuntimeError outside a task, ValueError for a name or a URL that cannot be, and a message over a limit
        fails the run.
        """
        if self._run is None:
            raise RuntimeError("send_message() works only while a task runs")
        self._run.add_message(make_message(self.project_name, project, msg, url, self._run.guarded))

    def get_taskid(self, task: dict[str, Any]) -> str:
        """The identity of a task within its project: two tasks with one taskid are one task. May be overridden."""
        return md5(task["url"].encode(), usedforsecurity=False).hexdigest()

    def is_debugger(self) -> bool:
        """Whether this run is a try that changes nothing."""
        return bool(self.__env__.get("debugger"))

    def on_start(self) -> Any:
        """Called when the project is started; submits the first URLs."""

    def on_result(self, result: Any) -> Any:
        """Called with what a callback returned, and with each item of a generator; keeps what is not falsy."""
        if self._run is None:
            raise RuntimeError("on_result() works only while a task runs")
        self._run.add_result(result)

    def on_message(self, project: str, msg: Any) -> Any:
        """Called with a message from a project; what it returns becomes a result."""

    def on_finished(self) -> Any:
        """Called when no task of the project is left."""

    def _on_message(self, response: "Response") -> Any:
        project, msg = response.save
        return self.on_message(project, msg)

    def _on_cronjob(self, response: "Response", task: dict[str, Any]) -> None:
        """Run each @every method once that has a tick in (since, tick]; one that raises does not keep the others.

        The first error is raised at the end.
        """
        tick = int(response.save["tick"])
        since = int(response.save.get("since", tick - 1))
        first: Exception | None = None
        for job in type(self)._cron_jobs:
            if not is_due(job, since, tick):
                continue
            try:
                value = call(job.__get__(self), (response, task))
                if isinstance(value, GeneratorType):
                    for _ in value:  # what it yields is no result, what it crawls counts
                        pass
            except Exception as exc:
                self.logger.exception("@every method %s failed", job.__name__)
                first = first or exc
        if first is not None:
            raise first
