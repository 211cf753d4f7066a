"""The crawled site and its script, as a ground truth: which pages there are, and what each leads to."""

import json
import random
from typing import NamedTuple

import msgspec
from zspider.broker.codec import encode_outcome
from zspider.broker.messages import Page as FetchedPage
from zspider.delivery import End, Follow, Message, Outcome
from zspider.task import GET_INFO, ON_FINISHED, ON_START, ScriptInfo, is_message, message_options, usual_taskid

PROJECT = "site"
SCRIPT = "class Handler: pass"  # nobody runs it: `Site` knows what it would do
RETRIES = 2
HOSTS = 3
HUBS = (0, 0, 1, 2, 2)  # of a site, as likely each
FORCES = 0.15  # of the other pages: they want a hub crawled again
MARK = "/mark/"
FIRST, SECOND = "first", "second"  # visits; the second is a recrawl that somebody asks for
_pack = msgspec.msgpack.encode


class Page(NamedTuple):
    """One page. What it leads to is the same each time, once it does not fail any more.

    A hub leads to one page more in each run, saves the run's number and has it as its result.
    """

    links: list[int]
    fails: int = 0  # runs that fail before one succeeds
    parts: bool = False  # some links are sent ahead
    message: bool = False  # it sends one
    forces: int | None = None  # a hub that it wants crawled again
    is_hub: bool = False


class Site:
    """A random graph of pages, all of which are reached from the first."""

    def __init__(self, chance: random.Random) -> None:
        self.has_on_finished = chance.random() < 0.5
        self.pages = [self._page(number, chance) for number in range(chance.randint(30, 80))]
        for number in range(1, len(self.pages)):  # reachable from a page that does not fail for good
            parent = chance.randrange(max(0, number - 12), number)
            while self.pages[parent].fails > RETRIES:
                parent = chance.randrange(number)
            self.pages[parent].links.append(number)
        for page in self.pages:
            if page.fails <= RETRIES:
                page.links.extend(chance.choices(range(len(self.pages)), k=chance.randint(0, 4)))
        self.hubs = self._choose_hubs(chance)
        self._taskids = {usual_taskid(page_url(number)): page for number, page in enumerate(self.pages)}
        self._delays = {"0": chance.uniform(0.2, 2.0), "": chance.uniform(0.2, 4.0)}

    def _page(self, number: int, chance: random.Random) -> Page:
        fails = chance.choices([0, 1, 2, RETRIES + 1], [80, 10, 6, 4])[0] if number else 0
        is_dead = fails > RETRIES
        return Page(
            [],
            fails,
            parts=not is_dead and chance.random() < 0.1,
            message=not is_dead and chance.random() < 0.1,
        )

    def _choose_hubs(self, chance: random.Random) -> list[int]:
        """Pages that others want crawled again, by their numbers."""
        fitting = [number for number, page in enumerate(self.pages) if number and not (page.fails or page.message)]
        hubs = chance.sample(fitting, chance.choice(HUBS))
        for number, page in enumerate(self.pages):
            if number in hubs:
                self.pages[number] = page._replace(is_hub=True, parts=chance.random() < 0.4)
            elif hubs and page.fails <= RETRIES and chance.random() < FORCES:
                self.pages[number] = page._replace(forces=chance.choice(hubs))
        return hubs

    # --- what is true at the end

    def taskids(self) -> dict[str, Page]:
        """All tasks that have a row at the end, but for on_start and on_finished."""
        return self._taskids

    def hub_of(self, taskid: str) -> int | None:
        """The number of this task's page, if it is a hub."""
        return next((number for number in self.hubs if usual_taskid(page_url(number)) == taskid), None)

    def messages(self) -> int:
        """How many are sent."""
        return sum(page.message for page in self.pages)

    def results(self, visits: dict[str, str], marks: dict[int, set[int]]) -> dict[str, str]:
        """Every result, by the task id that it is stored under. visits: those that are not the first, by task id.

        marks: the runs of each hub that ended.
        """
        found = {
            taskid: _result(page_url(number), visits.get(taskid, FIRST))
            for number, (taskid, page) in enumerate(self.taskids().items())
            if page.fails <= RETRIES
        }
        for number, runs in marks.items():
            found[usual_taskid(page_url(number))] = _result(page_url(number), max(runs))
            found |= {usual_taskid(url): _result(url, FIRST) for url in (mark_url(number, run) for run in runs)}
        for number, page in enumerate(self.pages):
            if page.message:
                found[usual_taskid(_message_url(number))] = _result(_message_url(number), FIRST)
        return found

    # --- the script

    def run(self, page: FetchedPage) -> list[bytes]:
        """What the script makes of a fetched page: packed outcomes, the last of which is the end."""
        outcome = Outcome(page.project, page.taskid, page.run, page.attempt, page.proof, End.SUCCESS)
        replace = msgspec.structs.replace
        if page.taskid == GET_INFO:
            info = ScriptInfo(retry_delay=self._delays, has_on_finished=self.has_on_finished)
            return [encode_outcome(replace(outcome, info=_pack(info)))]
        if page.taskid == ON_START:
            return [encode_outcome(replace(outcome, follows=[follow(0)]))]
        url = page.fetch["url"]
        visit = page.task["fetch"].get("save") or FIRST
        if is_message(page.taskid) or MARK in url:
            return [encode_outcome(replace(outcome, results=[_result(url, FIRST).encode()]))]
        if page.taskid == ON_FINISHED:
            return [encode_outcome(outcome)]
        return self._run_page(outcome, int(url.rpartition("/")[2]), url, visit, page.task["schedule"]["retried"])

    def _run_page(self, outcome: Outcome, number: int, url: str, visit: str, retried: int) -> list[bytes]:
        page, replace = self.pages[number], msgspec.structs.replace
        if retried < page.fails:
            return [encode_outcome(replace(outcome, end=End.FAILURE, reason="not yet"))]
        if page.is_hub:
            return self._run_hub(outcome, number, url)
        follows = [follow(link) for link in page.links]
        if page.forces is not None:
            follows.append(follow(page.forces, force_update=True))
        packed = []
        if page.parts:
            packed.append(encode_outcome(replace(outcome, end=End.PART, follows=follows[::2])))
            follows = follows[1::2]
        messages = [_message(number)] if page.message else []
        results = [_result(url, visit).encode()]
        packed.append(encode_outcome(replace(outcome, follows=follows, results=results, messages=messages)))
        return packed

    def _run_hub(self, outcome: Outcome, number: int, url: str) -> list[bytes]:
        """As `_run_page`; what shows that this very run counted is in the last outcome."""
        page, packed = self.pages[number], []
        follows = [follow(link) for link in page.links]
        if page.parts:
            packed.append(encode_outcome(msgspec.structs.replace(outcome, end=End.PART, follows=follows[::2])))
            follows = follows[1::2]
        mark = mark_url(number, outcome.run)
        follows.append(Follow(usual_taskid(mark), mark, _pack({}), retries=RETRIES))
        results, track = [_result(url, outcome.run).encode()], _pack({"save": outcome.run})
        packed.append(encode_outcome(msgspec.structs.replace(outcome, follows=follows, results=results, track=track)))
        return packed


def page_url(number: int) -> str:
    return f"http://site{number % HOSTS}.example/{number}"


def mark_url(number: int, run: int) -> str:
    """The page that this run of a hub has led to."""
    return f"http://site{run % HOSTS}.example{MARK}{number}-{run}"


def read_mark(url: str) -> tuple[int, int] | None:
    """The hub's number and its run; None for another page."""
    _, slash, rest = url.partition(MARK)
    number, _, run = rest.partition("-")
    return (int(number), int(run)) if slash else None


def follow(number: int, visit: str = "", **changes: object) -> Follow:
    """The submission of a page. visit: asks for another visit under this name."""
    url = page_url(number)
    fetch = {"save": visit} if visit else {}
    body = _pack({"schedule": {}, "fetch": fetch, "process": {}})
    fields = {"retries": RETRIES, "itag": visit or None, **changes}
    return Follow(usual_taskid(url), url, body, **fields)  # type: ignore[arg-type]


def _message_url(number: int) -> str:
    return f"http://message.example/{number}"


def _message(number: int) -> Message:
    return Message(PROJECT, _message_url(number), _pack(message_options(PROJECT, number)))


def _result(url: str, visit: str | int) -> str:
    return json.dumps([url, visit])
