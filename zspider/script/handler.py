"""BaseHandler: what a user's script subclasses, and `crawl()` (docs/pyspider-behaviour.md 2.2, 2.3, 2.7)."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import gcd
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar

from zspider.delivery import Follow
from zspider.script.arity import call
from zspider.script.collector import Collector
from zspider.script.crawl.curl import curl_to_arguments
from zspider.script.crawl.follow import Schedule, checked_taskid, make_follow, pack_body, read_schedule
from zspider.script.crawl.message import make_message
from zspider.script.crawl.options import (
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
from zspider.script.cron import is_due, whole_tick
from zspider.task import MESSAGE_URL, usual_taskid

if TYPE_CHECKING:
    from zspider.script.page.response import Response


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


@dataclass(slots=True)
class _Template:
    """The parts that tasks with the same callback, and no other option, have in common."""

    schedule_part: dict[str, Any]
    fetch_part: dict[str, Any]
    process_part: dict[str, Any]
    body: bytes
    guarded_body: bytes  # of tasks that a public page has led to
    schedule: Schedule
    has_usual_taskids: bool  # the script does not override `get_taskid`
    may_repeat: bool  # a URL whose task has a row need not be submitted again
    crawl_config: dict[str, Any]  # its schedule keys, as they were


TEMPLATES_MAX = 1000  # a callback may be made anew for each page
_NOT_MADE: Any = object()


def _name_of(callback: Any) -> str:
    name = callback if isinstance(callback, str) else getattr(callback, "__name__", None)
    return name if isinstance(name, str) else repr(callback)


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
    _templates: dict[Any, _Template | None] | None = None  # by callback

    def crawl(self, url: Any, *, callback: Any = None, **options: Any) -> Any:
        """Submit a URL, or several with the same options (docs/pyspider-behaviour.md 2.3).

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
                return self._submit(run, url, self._prepared(callback, options))
            arguments = curl_to_arguments(url)
            return self._submit_all(run, arguments.pop("urls"), callback, {**arguments, **options})
        if isinstance(url, bytes | bytearray):
            raise TypeError("crawl() needs text, not bytes")
        return self._submit_all(run, url, callback, options) if isinstance(url, Iterable) else None

    def _submit_all(
        self, run: Collector, urls: Iterable[Any], callback: Any, options: dict[str, Any]
    ) -> list[dict[str, Any]]:
        tasks = []
        prepared = None
        for url in urls:
            if isinstance(url, str):
                prepared = self._prepared(callback, options) if prepared is None else prepared
                tasks.append(self._submit(run, url, prepared))
            elif url is None:
                self.logger.warning("crawl() was given None among its URLs: skipped")
            else:
                raise TypeError(f"crawl() needs URLs as text, not {type(url).__name__}")
        return tasks

    def _prepared(self, callback: Any, options: dict[str, Any]) -> "_Template | dict[str, Any]":
        """Return the options, which do not depend on the URL: a template if one fits, else all of them.

        Templates are made once per callback and `crawl_config`.
        """
        if options:
            return self._complete(callback, options)
        config = self.crawl_config
        wanted = {key: config[key] for key in SCHEDULE if key in config} if config else {}
        templates = self._templates
        if templates is None or len(templates) > TEMPLATES_MAX:
            templates = self._templates = {}
        try:
            template = templates.get(callback, _NOT_MADE)
        except TypeError:  # it has no hash, so it is no callback
            template = None
        if template is _NOT_MADE or (template is not None and template.crawl_config != wanted):
            template = templates[callback] = self._made_template(callback, wanted)
        return self._complete(callback, options) if template is None else template

    def _made_template(self, callback: Any, crawl_config: dict[str, Any]) -> _Template | None:
        """Make a template.

        None if the callback's @config is about single URLs, or in a debugger, which shows all options.
        """
        options = self._complete(callback, {})
        if self.is_debugger() or not fits_a_template(options):
            return None
        task = make_task("http://template/", options)
        schedule = read_schedule(task["schedule"])
        is_usual = type(self).get_taskid is BaseHandler.get_taskid and "get_taskid" not in self.__dict__
        return _Template(
            schedule_part=copied(task["schedule"]),
            fetch_part=copied(task["fetch"]),
            process_part=copied(task["process"]),
            body=pack_body(task),
            guarded_body=pack_body(task, guarded=True),
            schedule=schedule,
            has_usual_taskids=is_usual,
            may_repeat=is_usual and Follow("-", "-", b"", *schedule).asks_nothing,
            crawl_config=crawl_config,
        )

    def _submit(self, run: Collector, url: str, prepared: "_Template | dict[str, Any]") -> dict[str, Any]:
        if isinstance(prepared, dict):
            return self._submit_alone(run, url, prepared)
        if not prepared.may_repeat or (taskid := run.known.get(url)) is None:
            return self._submit_like(run, url, prepared)
        run.repeat(taskid)
        return self._task_like(url, prepared, taskid)

    def _submit_alone(self, run: Collector, url: str, options: dict[str, Any]) -> dict[str, Any]:
        """Submit a URL the long way, with complete options."""
        task = {"project": self.project_name, **make_task(url, options)}
        if self.is_debugger():
            add_late(task, self.crawl_config or {})
        task["taskid"] = taskid = checked_taskid(options.get("taskid") or self.get_taskid(task))
        if run.is_new(taskid):
            run.add(make_follow(task, run.guarded))
        return task

    def _task_like(self, url: str, template: _Template, taskid: str) -> dict[str, Any]:
        return {
            "taskid": taskid,
            "project": self.project_name,
            "url": url,
            "schedule": template.schedule_part.copy(),
            "fetch": copied(template.fetch_part) if template.fetch_part else {},
            "process": template.process_part.copy(),
        }

    def _submit_like(self, run: Collector, url: str, template: _Template) -> dict[str, Any]:
        """Submit a URL the short way: everything but the URL is packed already."""
        url = checked_url(url)
        task = self._task_like(url, template, usual_taskid(url))
        is_same = True
        if not template.has_usual_taskids:
            del task["taskid"]
            task["taskid"] = checked_taskid(self.get_taskid(task))  # it may change the task
            is_same = task == self._task_like(url, template, task["taskid"])
        taskid = task["taskid"]
        if run.is_new(taskid):
            body = template.guarded_body if run.guarded else template.body
            run.add(Follow(taskid, url, body, *template.schedule) if is_same else make_follow(task, run.guarded))
        return task

    def _complete(self, callback: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options encoded, with the callback by name, @config and crawl_config's schedule keys filled in."""
        options = dict(options)
        if callback:
            options["callback"] = name = self._callback_name(callback)
            options = with_defaults(options, getattr(getattr(self, name), "_config", {}))
        if self.crawl_config:
            add_schedule(options, self.crawl_config)
        encode_options(options)
        return options

    def _callback_name(self, callback: Any) -> str:
        name = _name_of(callback)
        if callable(getattr(self, name, None)):
            return name
        raise NotImplementedError(f"self.{name}() not implemented!")

    def send_message(self, project: str, msg: Any, url: str = MESSAGE_URL) -> None:
        """Send `msg` to the `on_message` of a project, once this run has ended; it may be your own project.

        msg: JSON-like, as `save` of crawl(). url: what on_message returns is stored as the result of this URL, and
        replaces what was stored of it before. A project that does not exist gets nothing, and the master's log says so.
        Raises RuntimeError outside a task, ValueError for a name or a URL that cannot be, and a message over a limit
        fails the run.
        """
        if self._run is None:
            raise RuntimeError("send_message() works only while a task runs")
        self._run.add_message(make_message(self.project_name, project, msg, url, self._run.guarded))

    def get_taskid(self, task: dict[str, Any]) -> str:
        """Return the identity of a task within its project: two tasks with one taskid are one task.

        May be overridden.
        """
        return usual_taskid(task["url"])

    def is_debugger(self) -> bool:
        """Return whether this run is a try that changes nothing."""
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
