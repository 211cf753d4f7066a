"""What `scripts/on-debian` reads: where the host has its packages from, and what a run of tests said."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

_LOADER = SourceFileLoader("on_debian", str(Path(__file__).resolve().parents[2] / "scripts/on-debian"))
_SPEC = spec_from_loader(_LOADER.name, _LOADER)
assert _SPEC is not None
on_debian = module_from_spec(_SPEC)
_LOADER.exec_module(on_debian)

LINES = """\
# deb http://commented.example/debian bookworm main
deb http://one.example/debian bookworm main contrib
deb [arch=amd64 signed-by=/keys] https://two.example/security bookworm-security main
deb-src http://one.example/debian bookworm main
deb http://other.example/tools stable tools
"""
STANZAS = """\
Types: deb
# http://commented.example
URIs: http://three.example/debian
Suites: bookworm
 bookworm-updates
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_both_formats_of_apt_are_read(tmp_path):
    (tmp_path / "sources.list").write_text(LINES)
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(STANZAS)
    (tmp_path / "sources.list.d/old.list.disabled").write_text("deb http://disabled.example/debian bookworm main\n")
    assert [tuple(one) for one in on_debian.sources_of_host(tmp_path)] == [
        ("http://one.example/debian", "bookworm"),
        ("https://two.example/security", "bookworm-security"),
        ("http://three.example/debian", "bookworm"),
        ("http://three.example/debian", "bookworm-updates"),
    ]


@pytest.mark.parametrize(
    ("said", "code", "outcome"),
    [
        ("3 passed in 2 s\n\n3 passed, 0 failed\n", 0, (3, 0, 0, [])),
        (
            "FAILED tests/unit/a.py::b - no\nSKIPPED [2] tests/a.py:3: needs X\nSKIPPED [1] tests/a.py:3: needs X\n"
            "5 passed, 1 failed, 3 skipped\n",
            1,
            (5, 1, 3, ["FAILED tests/unit/a.py::b - no", "SKIPPED 3 x tests/a.py:3: needs X"]),
        ),
        ("5 passed, 0 failed\nmake: *** Error 1\n", 2, (5, 1, 0, [])),
        ("All checks passed!\n", 0, (1, 0, 0, [])),
        ("error\n", 2, (0, 1, 0, [])),
    ],
)
def test_a_run_is_counted_and_never_passes_with_an_exit_code(said, code, outcome):
    assert on_debian.read_outcome(said, code) == outcome
