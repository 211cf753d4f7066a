"""docs/security.md names tests that exist."""

import re

from tests.support.process import ROOT


def test_each_attack_has_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    rows = [row for row in page.partition("## The attacks")[2].splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`((?:fault|unit|integration)/[^`]*)`", row.rpartition(" | ")[2])
        assert named, row
        assert all((ROOT / "tests" / name).is_file() for name in named), row
