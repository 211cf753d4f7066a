"""@every, @config and the marks; and what `import zspider` offers and costs."""

import subprocess
import sys

import pytest
import zspider
from tests.support.scripts import handler_of, loaded, page, ran
from zspider.delivery import End
from zspider.script.runner import run


@pytest.mark.parametrize(
    ("decorator", "tick"),
    [
        ("every", 60),
        ("every()", 60),
        ("every(minutes=2)", 120),
        ("every(seconds=30)", 30),
        ("every(0.5)", 30),
        ("every(minutes=1, seconds=1.5)", 61),
        ("every(minutes=24 * 60)", 86400),
    ],
)
def test_every_gives_the_period(decorator, tick):
    assert handler_of(f"@{decorator}\ndef tick(self): pass").info().min_tick == tick


@pytest.mark.parametrize("seconds", [0.5, 0, -60, float("nan"), float("inf"), 2**31])
def test_every_refuses_what_is_no_period(seconds):
    with pytest.raises(ValueError, match="at least one second"):
        zspider.every(seconds=seconds)


def test_the_smallest_tick_divides_all_and_inherited_ones_count():
    script = loaded("""
    class Base(BaseHandler):
        @every(seconds=40)
        def a(self): pass
        @every(seconds=5)
        def b(self): pass
    class Handler(Base):
        @every(seconds=60)
        def c(self): pass
        def b(self): pass  # overridden without @every: no longer a cron job
    """)
    assert script.info().min_tick == 20


CRON = """
@every(seconds=10)
def ten(self): self.crawl('http://a/ten')
@every(seconds=15)
def fifteen(self):
    self.crawl('http://a/fifteen')
    yield 1
@every(seconds=7)
def bad(self, response): raise ValueError('seven')
"""


@pytest.mark.parametrize(
    ("since", "tick", "names"),
    [(0, 10, {"ten"}), (10, 13, set()), (9, 10, {"ten"}), (29, 30, {"ten", "fifteen"}), (10, 1000, {"ten", "fifteen"})],
)
def test_each_every_method_with_a_tick_in_the_interval_runs_once(since, tick, names):
    outcome = run(handler_of(CRON), *page("_on_cronjob", save={"since": since, "tick": tick}))
    assert {follow.url.rpartition("/")[2] for follow in outcome.follows} == names
    assert outcome.results == []


def test_a_failing_every_method_fails_the_run_and_keeps_no_other_from_running():
    outcome = run(handler_of(CRON), *page("_on_cronjob", save={"since": 0, "tick": 30}))
    assert (outcome.end, outcome.reason) == (End.FAILURE, "ValueError: seven")
    assert len(outcome.follows) == 2


def test_a_callback_that_sends_no_status_is_a_success_without_a_track():
    outcome = ran("@not_send_status\ndef page(self, response):\n    self.crawl('http://a/')\n    raise ValueError")
    assert (outcome.end, outcome.track, len(outcome.follows)) == (End.SUCCESS, None, 1)


def test_decorators_stack_in_any_order():
    for order in (("config(priority=4)", "catch_status_code_error"), ("catch_status_code_error", "config(priority=4)")):
        body = "".join(f"@{name}\n" for name in order) + "def page(self, response): self.crawl('http://a/', self.page)"
        body = body.replace(", self.page", ", callback=self.page")
        assert ran(body, status_code=500).follows[0].priority == 4


def test_zspider_gives_what_a_script_needs():
    for name in zspider.__all__:
        assert getattr(zspider, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        zspider.nothing  # noqa: B018


def test_importing_zspider_imports_nothing_else():
    code = "import sys; before = set(sys.modules); import zspider; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not [
        name for name in eval(done.stdout) if name.startswith("zspider.") or name in ("lxml", "pyquery", "msgspec")
    ]
