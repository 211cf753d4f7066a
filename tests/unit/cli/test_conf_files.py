"""conf/*.yaml: every setting is in them, with its true default and its reason, and they load."""

import re
from pathlib import Path

import pytest
import yaml
from zspider.cli.config import leaves, load
from zspider.settings import MasterFile, MasterSettings, SlaveFile

CONF = Path(__file__).resolve().parents[3] / "conf"
FILES = [("master.yaml", MasterFile), ("slave.yaml", SlaveFile)]
# The one value that differs from its default: a master that listens on loopback only would refuse the
# slaves that the file is for.
BEYOND_LOOPBACK = {("master", "bind"): "0.0.0.0"}


@pytest.mark.parametrize(("name", "kind"), FILES)
def test_a_shipped_file_loads_and_says_nothing_but_the_defaults(name, kind):
    expected = kind() if kind is SlaveFile else MasterFile(master=MasterSettings(bind="0.0.0.0"))
    assert load(kind, CONF / name, environment={}) == expected


@pytest.mark.parametrize(("name", "kind"), FILES)
def test_every_setting_is_in_the_file_with_its_default_and_a_line_why(name, kind):
    text = (CONF / name).read_text()
    values = yaml.safe_load(text.replace("# data_dir:", "data_dir:"))  # its default depends on who starts it
    comments = " ".join(re.sub(r"(?m)^\s*# ?", "", text).split())
    for path, field in leaves(kind).items():
        value = values
        for part in path:
            assert part in value, f"{name} lacks {'.'.join(path)}"
            value = value[part]
        if path != ("data_dir",):
            expected = BEYOND_LOOPBACK.get(path, field.default)
            expected = list(expected) if isinstance(expected, tuple) else expected
            assert (value, type(value)) == (expected, type(expected)), ".".join(path)
        assert " ".join(field.description.split()) in comments, f"{name}: the line of {'.'.join(path)} is out of date"
