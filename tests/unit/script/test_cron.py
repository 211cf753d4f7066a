"""@every(cron=...): when its times come, and what is refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import zspider
from hypothesis import given
from hypothesis import strategies as st
from tests.support.scripts import handler_of, loaded, page
from zspider.script.cron import Cron
from zspider.script.errors import LoadError
from zspider.script.runner import run

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp())


@pytest.mark.parametrize(
    ("since", "until", "comes"),
    [
        ("2024-05-01 02:59", "2024-05-01 03:00", True),
        ("2024-05-01 03:00", "2024-05-01 03:01", False),  # it was there at `since`
        ("2024-05-01 03:00", "2024-05-02 02:59", False),
        ("2024-05-01 03:00", "2024-05-09 12:00", True),  # after a stall: once for all that were missed
        ("2023-12-31 23:59", "2024-01-01 03:00", True),
    ],
)
def test_a_time_comes_when_it_lies_in_the_interval(since, until, comes):
    assert Cron("0 3 * * *").comes(at(since), at(until)) is comes


@pytest.mark.parametrize(
    ("expression", "first", "then"),
    [
        ("0 3 * * *", "2024-01-10 02:00", "2024-07-10 01:00"),  # the same local time, winter and summer
        ("30 9 * * MON", "2024-01-15 08:30", "2024-07-15 07:30"),
        ("*/15 6-7 1 * *", "2024-02-01 05:45", "2024-08-01 04:45"),
    ],
)
def test_a_time_zone_is_followed_through_the_year(expression, first, then):
    cron = Cron(expression, "Europe/Berlin")
    for moment in (at(first), at(then)):
        assert cron.comes(moment - 60, moment)
        assert not cron.comes(moment, moment + 60)


def test_on_the_days_when_clocks_change_a_time_comes_once():
    night = Cron("30 2 * * *", "Europe/Berlin")
    for day in ("2024-03-31", "2024-10-27"):  # 02:30 is not there, and there twice
        start = at(f"{day} 00:00", BERLIN)
        came = [minute for minute in range(23 * 60) if night.comes(start + minute * 60, start + minute * 60 + 60)]
        assert len(came) == 1


expressions = st.tuples(
    st.sampled_from(["0", "*/7", "5,40", "10-20", "*"]),
    st.sampled_from(["0", "*", "2", "2-3", "*/5"]),
    st.sampled_from(["*", "1", "31", "L"]),
    st.sampled_from(["*", "1,7", "3"]),
    st.sampled_from(["*", "MON", "0", "1-5"]),
).map(" ".join)
moments = st.integers(at("2000-01-01"), at("2037-12-31"))


@given(expressions, st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]), moments)
def test_intervals_side_by_side_miss_nothing_and_repeat_nothing(expression, zone, since):
    cron = Cron(expression, zone)
    for middle in (since + 59, since + 3600):
        until = middle + 7200
        assert cron.comes(since, until) == (cron.comes(since, middle) or cron.comes(middle, until))
    assert not cron.comes(since, since)


@given(moments)
def test_every_minute_is_every_minute(since):
    assert Cron("* * * * *").comes(since, since + 60)
    on_the_minute = (datetime.fromtimestamp(since, UTC) + timedelta(seconds=1)).second == 0
    assert Cron("* * * * *").comes(since, since + 1) == on_the_minute


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("cron='61 * * * *'", "ValueError: @every(cron='61 * * * *'): Bad minute"),
        ("cron='daily'", "ValueError: @every(cron='daily'): 5 fields wanted: minute hour day month weekday"),
        ("cron='0 0 3 * * *'", "ValueError: @every(cron='0 0 3 * * *'): 5 fields wanted"),
        ("cron=''", "ValueError: @every(cron=''): 5 fields wanted"),
        ("cron=5", "ValueError: @every(cron=5): 5 fields wanted"),
        ("cron='0 0 30 2 *'", "ValueError: @every(cron='0 0 30 2 *'): Bad day-of-month"),
        ("cron='0 3 * * *', timezone='Mars/Base'", "ValueError: @every(timezone='Mars/Base'): no such time zone"),
        ("cron='0 3 * * *', timezone=''", "ValueError: @every(timezone=''): no such time zone"),
        ("cron='0 3 * * *', timezone='../etc'", "ValueError: @every(timezone='../etc'): no such time zone"),
        ("cron='0 3 * * *', timezone=2", "ValueError: @every(timezone=2): no such time zone"),
        ("minutes=5, cron='0 3 * * *'", "ValueError: @every takes minutes and seconds, or cron, not both"),
        ("minutes=5, timezone='UTC'", "ValueError: @every(timezone=...) needs cron"),
    ],
)
def test_a_wrong_expression_is_one_error_at_load(arguments, reason):
    with pytest.raises(LoadError) as caught:
        handler_of(f"@every({arguments})\ndef tick(self): pass")
    assert str(caught.value).startswith(reason)


def test_the_smallest_tick_with_a_cron_expression_is_a_minute_or_less():
    assert handler_of("@every(cron='0 3 * * *')\ndef tick(self): pass").info().min_tick == 60
    both = "@every(cron='0 3 * * *')\ndef a(self): pass\n@every(seconds=90)\ndef b(self): pass"
    assert handler_of(both).info().min_tick == 30


def test_cron_methods_run_beside_the_periodic_ones_and_are_inherited():
    script = loaded("""
    class Base(BaseHandler):
        @every(cron='0 3 * * *', timezone='Europe/Berlin')
        def nightly(self): self.crawl('http://a/nightly')
        @every(cron='0 4 * * *')
        async def later(self): self.crawl('http://a/later')
    class Handler(Base):
        @every(minutes=1)
        async def often(self):
            self.crawl('http://a/often')
            yield 'no result'
    """)
    tick = at("2024-05-01 01:00")  # 03:00 in Berlin
    outcome = run(script, *page("_on_cronjob", save={"since": tick - 60, "tick": tick}))
    assert (outcome.reason, outcome.results) == ("", [])
    assert {follow.url for follow in outcome.follows} == {"http://a/nightly", "http://a/often"}


def test_every_gives_back_the_function():
    def job(self): ...

    assert zspider.every(cron="0 3 * * *")(job) is job
    assert (job.is_cronjob, job.tick) == (True, 60)
