"""One task without a master: what a script submits, completed and fetched as a slave would. Nothing is stored."""

import select
from typing import Any

from zspider.broker.messages import ProjectInfo
from zspider.delivery import PROOF_BYTES, Follow, Grant
from zspider.errors import FetchError
from zspider.fetch import Fetched, FetchPool, Request, build_request, failure
from zspider.roles.slave.pages import Projects, task_of
from zspider.script.loader import LoadedScript
from zspider.script.trial import UnusableTask, submitted
from zspider.settings import FetchSettings
from zspider.task import ProjectStatus, ScriptInfo

_PROJECT = 1  # nobody else's: there is no database
_HASH = bytes(32)


def as_granted(follow: Follow, name: str, info: ScriptInfo) -> dict[str, Any]:
    """Return the task of a follow as its callback sees it, `crawl_config` merged in. name: the project's."""
    grant = Grant(1, _PROJECT, follow.taskid, follow.url, 0, 1, bytes(PROOF_BYTES), _HASH, follow.body)
    project = ProjectInfo(
        project=_PROJECT,
        name=name,
        group="",
        status=ProjectStatus.DEBUG,
        rate=1.0,
        burst=1.0,
        updated_ms=0,
        script=_HASH,
        crawl_config=info.crawl_config,
    )
    projects = Projects()
    projects.learn(project)
    return task_of(grant, project, projects.config(project))


def try_url(loaded: LoadedScript, url: str, options: dict[str, Any], settings: FetchSettings) -> Fetched:
    """Fetch what `self.crawl(url, **options)` of this script would. Raises UnusableTask for what cannot be asked."""
    task = as_granted(submitted(loaded, url, options), loaded.handler.project_name, loaded.info())
    try:
        request = build_request(1, task["url"], task["fetch"], task["track"], settings)
    except FetchError as exc:
        raise UnusableTask(str(exc)) from exc
    return _answer(request, task, settings)


def fetch_task(task: dict[str, Any], settings: FetchSettings) -> Fetched:
    """Fetch a task's page as a slave does: a request that cannot be built is a failure like others."""
    try:
        request = build_request(1, task["url"], task["fetch"], task["track"], settings)
    except FetchError as exc:
        return failure(1, task["url"], str(exc))
    return _answer(request, task, settings)


def _answer(request: Request, task: dict[str, Any], settings: FetchSettings) -> Fetched:
    pool = FetchPool(settings, concurrency=1)
    poller = select.poll()
    poller.register(pool.fileno(), select.POLLIN)
    try:
        pool.start(request)
        while not (answers := pool.step()):
            wait_s = pool.wait_s()
            poller.poll(None if wait_s is None else int(wait_s * 1000) + 1)
    finally:
        pool.close()
    answers[0].result["save"] = task["fetch"].get("save")
    return answers[0]
