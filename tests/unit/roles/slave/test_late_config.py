"""crawl_config is bound late: a table of what wins (docs/pyspider-behaviour.md 2.5)."""

import pytest
from zspider.roles.slave.late_config import LateConfig


@pytest.mark.parametrize(
    ("own", "config", "merged"),
    [
        ({}, {}, {}),
        ({"timeout": 5}, {}, {"timeout": 5}),
        ({}, {"timeout": 9}, {"timeout": 9}),
        ({"timeout": 5}, {"timeout": 9}, {"timeout": 5}),
        ({"timeout": None}, {"timeout": 9}, {"timeout": None}),
        ({"headers": {"A": "own"}}, {"headers": {"A": "c", "B": "c"}}, {"headers": {"A": "own", "B": "c"}}),
        ({"headers": {}}, {"headers": {"B": "c"}}, {"headers": {"B": "c"}}),
        ({"headers": {"A": "own"}}, {"headers": "not a dict"}, {"headers": {"A": "own"}}),
        ({"cookies": "a=b"}, {"cookies": {"c": "d"}}, {"cookies": "a=b"}),
        ({"save": 0}, {"save": {"a": 1}}, {"save": 0}),
        ({"proxy": False}, {"proxy": "p:1"}, {"proxy": False}),
        ({}, {"itag": "v2", "age": 5, "priority": 3, "unknown": 1, "taskid": "x"}, {}),
    ],
)
def test_the_tasks_own_options_win_and_dicts_are_merged(own, config, merged):
    before = {key: dict(value) if isinstance(value, dict) else value for key, value in own.items()}
    assert LateConfig(config).fetch(own) == merged
    assert own == before


def test_process_options_are_bound_apart_from_fetch_options():
    late = LateConfig({"callback": "parse", "process_time_limit": 3, "timeout": 9})
    assert late.process({"callback": "own"}) == {"callback": "own", "process_time_limit": 3}
    assert late.process({}) == {"callback": "parse", "process_time_limit": 3}
    assert late.fetch({}) == {"timeout": 9}


def test_one_tasks_headers_do_not_leak_into_the_next():
    late = LateConfig({"headers": {"A": "1"}})
    late.fetch({"headers": {"B": "2"}})["headers"]["C"] = "3"
    assert late.fetch({"headers": {}}) == {"headers": {"A": "1"}}
