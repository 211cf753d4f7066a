"""Benchmarks run by hand and seldom: what they import must not go away meanwhile."""

from importlib import import_module
from pathlib import Path

import benchmarks
import pytest

HERE = Path(benchmarks.__file__).parent
OWN_ENVIRONMENT = {"scrapy_article"}  # runs where Scrapy is installed
MODULES = sorted(file.stem for file in HERE.glob("[a-z]*.py") if file.stem not in OWN_ENVIRONMENT)


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_finds_what_it_uses(name: str) -> None:
    assert import_module(f"benchmarks.{name}").__doc__
