"""What must be so after every history, whatever happened in it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.fault.bench.plan import Fault
from tests.fault.bench.site import Fetch
from tests.fault.bench.stage import PROJECT, Stage
from tests.fault.bench.world import HUB, MARK
from zspider.task import Status

BOOKKEEPING = "data:,on_start"


class Done(NamedTuple):
    """A fault that happened: from when to when, in Unix seconds."""

    fault: Fault
    began_s: float
    ended_s: float


def of_an_idle_cluster(stage: Stage) -> Iterator[str]:
    """Everybody runs, and nobody holds anything."""
    for daemon in stage.daemons:
        if daemon.process.returncode is not None:
            yield f"{daemon.name} ended with {daemon.process.returncode}"
    status = stage.master.status()
    if len(status["slaves"]) != len(stage.slaves):
        yield f"{len(status['slaves'])} slaves in the status, {len(stage.slaves)} run"
    for slave in status["slaves"]:
        if slave["leased"] or slave["outbox"]:
            yield f"a slave holds something when all is over: {slave}"
    counts = next(row["counts"] for row in status["projects"] if row["name"] == PROJECT)
    if counts["leased"] or counts.get("waiting"):
        yield f"something is leased or waits when all is over: {counts}"
    if status["database_away"]:
        yield "the database is away"


def of_the_rows(stage: Stage) -> Iterator[str]:
    """The rows are what the site's links lead to, and the counters are what counting gives."""
    world, site = stage.world, stage.site_url
    rows = stage.database.rows("SELECT url, status FROM tasks")
    urls = Counter(bytes(url).decode() for url, _ in rows)
    wanted = Counter([BOOKKEEPING, *(site + page.path for page in world.pages), *_of_the_hub(stage)])
    if urls != wanted:
        yield f"tasks missing: {sorted(wanted - urls)}, too many: {sorted(urls - wanted)}"
    found = {
        bytes(url).decode(): json.loads(text) for url, text in stage.database.rows("SELECT url, result FROM results")
    }
    expected = world.results(site) | _of_the_hub(stage)
    if found != expected:
        differ = {url: (found.get(url), expected.get(url)) for url in found.keys() | expected.keys()}
        yield f"results differ: { {url: pair for url, pair in differ.items() if pair[0] != pair[1]} }"
    gone = sum(page.is_gone for page in world.pages)
    statuses = Counter(Status(status) for _, status in rows)
    if statuses != Counter({Status.SUCCESS: len(wanted) - gone, Status.FAILED: gone}):
        yield f"statuses: {statuses}; {gone} of {len(wanted)} pages are gone"
    yield from _of_the_counters(stage, statuses, gone)


def _of_the_counters(stage: Stage, statuses: Counter[Status], gone: int) -> Iterator[str]:
    counters: dict[str, int] = dict(stage.database.rows("SELECT name, value FROM counters"))
    messages = len(stage.world.heard)
    expected: dict[str, int] = {status.word: statuses[status] for status in Status}
    hub = _of_the_hub(stage)
    expected |= {"results": len(stage.world.results("")) + len(hub), "messages": messages}
    again = max(0, len(hub) - 2)  # the hub's row is there once, and so is what each of its runs led to
    expected |= {"success": statuses[Status.SUCCESS] + again, "failed_total": gone}
    wrong = {name: (counters.get(name, 0), value) for name, value in expected.items() if counters.get(name, 0) != value}
    if wrong:
        yield f"counters (found, wanted): {wrong}"


def _marks(stage: Stage) -> list[tuple[int, str]]:
    """The runs of the hub that counted, by their numbers, and what each led to."""
    found = [bytes(url).decode() for (url,) in stage.database.rows("SELECT url FROM tasks")]
    paths = [url.removeprefix(stage.site_url) for url in found if url.startswith(stage.site_url + MARK)]
    return sorted((int(path.removeprefix(MARK).partition("-")[0]), path) for path in paths)


def _of_the_hub(stage: Stage) -> dict[str, Any]:
    """URL -> result of the hub, and of what its runs led to; empty in a world without storms."""
    if not stage.world.is_stormy:
        return {}
    marks, site = _marks(stage), stage.site_url
    newest = max((number for number, _ in marks), default=0)
    return {site + HUB: {"runs": newest}} | {site + path: {"marked": site + path} for _, path in marks}


def of_the_storm(stage: Stage, done: list[Done]) -> Iterator[str]:
    """What each run of the hub led to is stored, however often the hub was submitted meanwhile.

    A run whose slave was struck may have come to nothing, and then its number is used again.
    """
    if not stage.world.is_stormy:
        return
    made = [fetch for fetch in stage.fetches() if fetch.path == HUB]
    marks = _marks(stage)
    allowed = sum(_may_have_cost(one, made, stage) for one in done)
    if not len(marks) <= len(made) <= len(marks) + allowed:
        yield f"the hub was fetched {len(made)} times, {len(marks)} runs counted, {allowed} may have come to nothing"
    numbers = [number for number, _ in marks]
    if set(numbers) != set(range(1, max(numbers, default=0) + 1)) or len(set(numbers)) < len(numbers) - allowed:
        yield f"what the hub saved was lost: {numbers}"
    if not numbers or len(numbers) + allowed < 2:  # while the database is locked, many submissions become one
        yield f"no storm: {len(numbers)} runs of the hub counted, {allowed} may have come to nothing"


def of_the_fetches(stage: Stage, done: list[Done]) -> Iterator[str]:
    """A page was asked for as often as the script wants, and once more for each fault that may cost a fetch."""
    fetches: defaultdict[str, list[Fetch]] = defaultdict(list)
    for fetch in stage.fetches():
        fetches[fetch.path].append(fetch)
    for page in stage.world.pages:
        made = fetches.pop(page.path, [])
        extra = len(made) - stage.world.fetches(page)
        allowed = sum(_may_have_cost(one, made, stage) for one in done)
        if extra > allowed:
            when = [f"{fetch.time_s:.2f} {fetch.client} {fetch.status}" for fetch in made]
            yield f"{page.path} was fetched {len(made)} times, {extra - allowed} too many: {when}"
        if not made:
            yield f"{page.path} was never fetched"
    if stage.world.is_stormy:
        fetches.pop(HUB, None)
        for _, path in _marks(stage):
            fetches.pop(path, None)
    if fetches:
        yield f"fetched what is linked nowhere: {sorted(fetches)}"


def refetches(stage: Stage) -> int:
    """Fetches beyond those that the script wants."""
    times = Counter(fetch.path for fetch in stage.fetches())
    return sum(max(0, times[page.path] - stage.world.fetches(page)) for page in stage.world.pages)


def _may_have_cost(one: Done, made: list[Fetch], stage: Stage) -> bool:
    """Whether the fault struck before the last fetch, and a slave that fetched the page: before, or when it woke up."""
    if not one.fault.may_refetch or not made or one.began_s > made[-1].time_s:
        return False
    host = stage.slaves[one.fault.target].host
    if stage.plan.is_split:
        return True  # the fetching slave's page may have been with the other
    return any(fetch.client == host.address for fetch in made if host)


def of_the_end(stage: Stage) -> Iterator[str]:
    """Asked to stop, everybody stops, in order, and leaves nothing."""
    stage.note_members()
    for daemon in [*stage.slaves.values(), stage.master]:
        code = daemon.stop()
        if code != 0:
            yield f"{daemon.name} ended with {code} after SIGTERM"
    if survivors := stage.survivors():
        yield f"processes left: {survivors}"
    for temp in stage.temps:
        if left := [path.name for path in temp.iterdir()]:
            yield f"files left in {temp.name}: {left}"
    yield from _left_in_the_database(stage)


def _left_in_the_database(stage: Stage) -> Iterator[str]:
    owners: list[tuple[Any, ...]] = stage.database.rows("SELECT owner FROM master")
    if owners != [("",)]:
        yield f"the database has an owner after a clean stop: {owners}"
    if (sessions := stage.database.rows("SELECT COUNT(*) FROM sessions")) != [(0,)]:
        yield f"sessions left: {sessions}"


def of_the_logs(stage: Stage) -> Iterator[str]:
    """Nobody printed a traceback."""
    for daemon in stage.daemons:
        if (at := daemon.log.find("Traceback")) >= 0:
            yield f"{daemon.name} printed a traceback: {daemon.log[at : at + 2000]}"
