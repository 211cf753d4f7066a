"""How fast retention goes: a fiftieth of the writer's time, one project after the other, then a rest."""

import time

from zspider.errors import StorageError
from zspider.roles.machine.clock import SYSTEM_CLOCK
from zspider.roles.master.retention import DAY_MS, PAUSE_MIN_S, REST_S, SHARE, Retention
from zspider.settings import RetentionSettings
from zspider.storage import Committed, Cutoffs, Place, RetentionStep


class Coordinator:
    """Knows two projects."""

    def __init__(self):
        self.core = self
        self.projects = {1: "shop", 2: "books"}
        self.applied = 0

    def apply(self, report):
        self.applied += 1


class Writer:
    """Runs what it is given when the test says so."""

    def __init__(self):
        self.calls = []

    def call(self, work, then, failed):
        self.calls.append((work, then, failed))

    def answer(self, storage):
        work, then, failed = self.calls.pop(0)
        try:
            value = work(storage)
        except StorageError as exc:
            failed(exc)
        else:
            then(value)


class Storage:
    """Takes `took_s` of processor time for a step; each project has two."""

    def __init__(self, took_s=0.0):
        self.took_s = took_s
        self.asked = []

    def retention_step(self, project, place, cutoffs):
        self.asked.append((project, place, cutoffs))
        end = time.perf_counter() + self.took_s
        while time.perf_counter() < end:
            pass
        return RetentionStep(Committed(), 1, 2, 3, Place(after=b"k") if place == Place() else None)


def test_every_project_is_swept_to_its_end_and_then_there_is_a_rest():
    coordinator, writer, storage = Coordinator(), Writer(), Storage()
    retention = Retention(RetentionSettings(forget_tasks_days=1.5), coordinator, writer, now=0.0)
    before_ms = SYSTEM_CLOCK.wall_ms()
    for _ in range(4):
        retention.run_if_due(retention.due - 0.001)  # too early: nothing
        assert writer.calls == []
        retention.run_if_due(retention.due)
        assert len(writer.calls) == 1
        retention.run_if_due(1e12)  # an answer is waited for: nothing
        assert len(writer.calls) == 1
        answered = time.monotonic()
        writer.answer(storage)
        assert retention.due >= answered + PAUSE_MIN_S
    assert [(project, place.after) for project, place, _ in storage.asked] == [(1, b""), (1, b"k"), (2, b""), (2, b"k")]
    assert retention.due >= answered + REST_S
    assert coordinator.applied == 4
    cutoffs = storage.asked[0][2]
    assert 0 <= cutoffs.tasks_ms - (before_ms - 1.5 * DAY_MS) < 60_000
    assert cutoffs == Cutoffs(0, cutoffs.tasks_ms, 0)


def test_a_slow_step_is_followed_by_a_long_pause():
    writer = Writer()
    retention = Retention(RetentionSettings(results_days=1), Coordinator(), writer, now=0.0)
    retention.run_if_due(0.0)
    answered = time.monotonic()
    writer.answer(Storage(took_s=0.02))
    assert retention.due >= answered + 0.02 / SHARE


def test_a_project_that_cannot_be_swept_does_not_hold_up_the_others():
    class Broken(Storage):
        def retention_step(self, project, place, cutoffs):
            self.asked.append((project, place, cutoffs))
            raise StorageError("no")

    writer, broken = Writer(), Broken()
    retention = Retention(RetentionSettings(results_days=1), Coordinator(), writer, now=0.0)
    for _ in range(2):
        retention.run_if_due(retention.due)
        writer.answer(broken)
    assert [project for project, _, _ in broken.asked] == [1, 2]


def test_without_projects_it_rests():
    coordinator, writer = Coordinator(), Writer()
    coordinator.projects = {}
    retention = Retention(RetentionSettings(results_days=1), coordinator, writer, now=0.0)
    retention.run_if_due(0.0)
    assert (retention.due, writer.calls) == (REST_S, [])


def test_nothing_is_wanted_by_default():
    assert not RetentionSettings().is_wanted
    assert RetentionSettings(results_days=1).is_wanted
