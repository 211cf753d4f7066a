"""How a verb on many tasks is run to its end, and what is said when it does not get there."""

from contextlib import contextmanager

import pytest
from zspider.cli.bulk import Verb, run_bulk

RETRY = Verb("tasks.retry", "failed task", "retried", waits=True)


class Asked:
    """A master that answers what it is given, then is interrupted."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    @contextmanager
    def connect(self):
        yield self

    def call(self, verb, **args):
        self.calls.append((verb, args))
        if not self.answers:
            raise KeyboardInterrupt
        return self.answers.pop(0)


def batch(changed, after, status="RUNNING"):
    return {"job": "j", "changed": changed, "looked": 300, "total": 900, "status": status, "next": after}


def run(asked, **options):
    run_bulk(asked, RETRY, "shop", **{"dry_run": False, "as_json": False, "url": None, **options})


def test_each_batch_goes_on_where_the_last_one_ended(capsys):
    asked = Asked(batch(300, b"1"), batch(1000, b"2"), batch(1, None))
    run(asked, limit=2000, url="*x")
    assert [args for _, args in asked.calls] == [
        {"project": "shop", "url": "*x", "job": None, "after": None, "limit": 2000},
        {"project": "shop", "url": "*x", "job": "j", "after": b"1", "limit": 1700},
        {"project": "shop", "url": "*x", "job": "j", "after": b"2", "limit": 700},
    ]
    assert capsys.readouterr().out == "shop: 1,301 failed tasks retried\n"


def test_an_interrupted_verb_says_what_is_done(capsys):
    with pytest.raises(KeyboardInterrupt):
        run(Asked(batch(300, b"1"), batch(200, b"2")))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "interrupted: 500 failed tasks retried; the rest is as it was\n")


def test_a_dry_run_adds_up_what_is_counted_and_changes_nothing(capsys):
    asked = Asked({"count": 1, "next": b"1"}, {"count": 0, "next": None})
    run(asked, dry_run=True)
    assert all(args["dry_run"] for _, args in asked.calls)
    assert capsys.readouterr().out == "shop: 1 failed task would be retried\n"
    run(Asked({"count": 90, "next": None}), dry_run=True, limit=7)
    assert capsys.readouterr().out == "shop: 7 failed tasks would be retried\n"


def test_what_cannot_run_yet_says_why(capsys):
    run(Asked(batch(1, None, "STOP")))
    assert capsys.readouterr().out == "shop: 1 failed task retried, waiting while the project is STOP\n"
