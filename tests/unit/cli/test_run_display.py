"""How a run is shown and when it has ended."""

import io

from hypothesis import given
from hypothesis import strategies as st
from zspider.cli.display import LINE_S, Lines, line, shown
from zspider.roles.run.progress import Progress, Speed, is_nothing_left

HALFWAY = Progress(
    elapsed_s=10, done=5_000, waiting=6_000, failed=10, results=4_999, pages_per_s=500.0, limited_by=None
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def row(**given):
    row = {
        "counts": {"waiting": 0, "leased": 0},
        "ready": False,
        "loaded": True,
        "next_due_ms": None,
        "finishing": False,
    }
    counts = {key: given.pop(key) for key in ("waiting", "leased") if key in given}
    return {**row, **given, "counts": {**row["counts"], **counts}}


def test_a_line_says_what_is_done_waits_and_failed_how_fast_and_how_long():
    assert line(HALFWAY) == "5,000 done  6,000 waiting  10 failed  500 pages/s  ETA 12 s"


def test_a_line_says_when_the_rate_is_what_holds_it_back():
    slow = Progress(elapsed_s=10, done=10, waiting=90, failed=0, results=10, pages_per_s=1.0, limited_by=1.0)
    assert line(slow).endswith("1.0 pages/s  ETA 1 min 30 s  limited by rate 1/s (change with --rate)")


def test_no_time_is_promised_while_nothing_moves():
    still = Progress(elapsed_s=1, done=0, waiting=5, failed=0, results=0, pages_per_s=0.0, limited_by=None)
    assert "ETA" not in line(still)


def test_in_a_pipe_there_is_a_line_every_few_seconds_and_no_control_character():
    out, clock = io.StringIO(), [100.0]
    view = Lines(out, lambda: clock[0])
    for _ in range(21):
        view.update(HALFWAY)
        clock[0] += LINE_S / 10
    view.say("the \x1b end")
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[-1] == "the \\x1b end"
    assert all(text.isprintable() for text in lines)


def test_the_stream_decides_how_a_run_is_shown():
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        with shown(stream) as view:
            view.say("begins [bold]now[/bold]")
            view.update(HALFWAY)
    assert pipe.getvalue().count("\n") == 2
    assert "\x1b" not in pipe.getvalue()
    assert "\x1b" in terminal.getvalue()
    assert "5,000 done" in terminal.getvalue()
    assert "[bold]now[/bold]" in terminal.getvalue()  # no text is taken for markup


def test_nothing_is_left_when_nothing_waits_or_is_leased():
    assert is_nothing_left(row(), 0, 60)
    assert not is_nothing_left(row(leased=1), 0, 60)
    assert not is_nothing_left(row(finishing=True), 0, 60)
    assert not is_nothing_left(row(waiting=1, ready=True), 0, 60)


def test_tasks_due_soon_are_waited_for_and_later_ones_are_not():
    assert not is_nothing_left(row(waiting=2, next_due_ms=59_000), 0, 60)
    assert is_nothing_left(row(waiting=2, next_due_ms=61_000), 0, 60)
    assert not is_nothing_left(row(waiting=2, next_due_ms=61_000, ready=True), 0, 60)


def test_what_is_not_read_from_the_database_yet_is_not_taken_for_nothing():
    assert not is_nothing_left(row(waiting=2, loaded=False), 0, 60)
    assert not is_nothing_left(row(waiting=2, next_due_ms=None), 0, 60)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 1000)), min_size=1, max_size=30))
def test_speed_is_never_negative_and_never_above_the_fastest_step(steps):
    speed, now, count, fastest = Speed(), 0.0, 0, 0.0
    assert speed.of(now, count) == 0
    for gap, more in steps:
        now, count = now + gap, count + more
        fastest = max(fastest, more / gap) if gap else float("inf") if more else fastest
        assert 0 <= speed.of(now, count) <= fastest * 1.000001
