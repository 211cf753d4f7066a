"""One datum that the database refuses harms its own task only; large and strange ones that it takes are kept."""

import pytest
from tests.support.mariadb import private_server
from tests.support.storage import Crawl, follow, outcome
from zspider.delivery import RESULT_BYTES_MAX, End, Follow, Outcome
from zspider.storage import BadDatum
from zspider.task import Status

LONG_URL = "http://example.org/" + "é" * 8000  # within the limit in characters, over it in bytes

OFFENCES = {
    "a result that is not UTF-8": {"results": [b'"\xff"']},
    "a URL of too many bytes": {"follows": [Follow("bad", LONG_URL, b"\x80")]},
    "half a surrogate pair in a taskid": {"follows": [Follow("\ud800", "http://example.org/", b"\x80")]},
    "half a surrogate pair in an itag": {"follows": [follow("bad", itag="\udfff")]},
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_the_offender_fails_alone_with_the_reason_and_all_others_are_committed(crawl: Crawl, offence: str) -> None:
    tasks = crawl.tasks(*(f"t{number}" for number in range(11)))
    batch = [outcome(task, results=[b"1"], follows=[follow(f"f-{task.taskid}")]) for task in tasks]
    batch[7] = outcome(tasks[7], **OFFENCES[offence])
    got = crawl.commit(*batch)
    assert [index for index, _ in got.bad] == [7]
    assert got.bad[0][1]
    assert {ended.ref: ended.status for ended in got.ended} == {
        task.ref: Status.FAILED if at == 7 else Status.SUCCESS for at, task in enumerate(tasks)
    }
    assert len(got.entered) == 10 == len(crawl.results())
    row = crawl.row("t7")
    assert "refused" in row.reason
    assert crawl.counts() == {
        "new": 21, "waiting": 10, "done": 10, "failed": 1, "success": 10, "failed_total": 1, "results": 10
    }  # fmt: skip
    again = crawl.commit(*batch)
    assert all(ended.late for ended in again.ended)
    assert len(again.ended) == 11
    assert again.bad == []


def test_a_reason_with_half_a_surrogate_pair_or_of_great_length_is_stored_as_far_as_it_can_be(crawl: Crawl) -> None:
    one, other = crawl.tasks("a", "b")
    got = crawl.commit(outcome(one, End.FATAL, reason="\ud800 boom"), outcome(other, End.FATAL, reason="🕷" * 5000))
    assert got.bad == []
    rows = crawl.row("a"), crawl.row("b")
    assert rows[0].reason == "? boom"
    assert rows[1].reason == "🕷" * 2000


def test_an_offending_outcome_of_no_task_is_reported_and_harms_nobody(crawl: Crawl) -> None:
    cron = Outcome(crawl.project.id, "_on_cronjob", 0, 1, b"", End.SUCCESS, follows=[Follow("x", LONG_URL, b"")])
    got = crawl.commit(cron, outcome(crawl.task("page")))
    assert [index for index, _ in got.bad] == [0]
    assert {ended.status for ended in got.ended} == {Status.FAILED, Status.SUCCESS}


def test_a_url_that_cannot_be_stored_is_refused_when_an_operator_submits_it(crawl: Crawl) -> None:
    with pytest.raises(BadDatum):
        crawl.submit(Follow("x", LONG_URL, b""))
    assert crawl.counts() == {}


def test_the_largest_result_and_the_largest_options_are_stored(crawl: Crawl) -> None:
    quotes = b'"' + b"\\'" * (RESULT_BYTES_MAX // 2 - 1) + b'"'
    spiders = '"🕷é\u0000"'.encode()
    big = follow("big", body=bytes(range(256)) * (4 * 1024 * 4))  # 4 MiB
    first, second = crawl.tasks("a", "b")
    got = crawl.commit(outcome(first, results=[quotes], follows=[big]), outcome(second, results=[spiders]))
    assert got.bad == []
    assert crawl.results() == {"a": [quotes.decode()], "b": [spiders.decode()]}
    assert crawl.storage.ready(crawl.project.id, None, 10)[0].body == big.body


def test_a_result_that_does_not_fit_the_servers_packets_fails_its_own_task() -> None:
    with private_server("--max-allowed-packet=4M") as server, Crawl(server.address(server.new_database())) as crawl:
        tasks = crawl.tasks("a", "b", "c")
        sizes = (1_500_000, 3_000_000, 10)
        got = crawl.commit(
            *(outcome(task, results=[b'"%s"' % (b"'" * size)]) for task, size in zip(tasks, sizes, strict=True))
        )
        assert [index for index, _ in got.bad] == [1]
        assert "max_allowed_packet" in got.bad[0][1]
        assert sorted(crawl.results()) == ["a", "c"]
