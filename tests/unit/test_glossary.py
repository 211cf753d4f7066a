"""docs/glossary.md has the words of the code, and words that gave way to better ones do not come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted((ROOT / "zspider").rglob("*.py"))
TEXT = "\n".join(path.read_text() for path in CODE)
WORDS = sorted(
    {
        word
        for row in re.findall(r"^\| (\*\*.*?) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
        for word in re.findall(r"\*\*(.+?)\*\*", row)
    }
)
# Names of classes, functions and modules that had a better one: old, new.
RETIRED = {
    "Agenda": "ProjectQueue",
    "Customer": "PageOwner",
    "Deletions": "ProjectRemovals",
    "Desk": "Coordinator",
    "Fallen": "DeadProcessor",
    "Fence": "EpochGuard",
    "HeldLeases": "SlaveLeases",
    "Keeper": "UpgradeOwner",
    "KeptRows": "RowCache",
    "KnownKeys": "SeenKeys",
    "KnownUrls": "SeenUrls",
    "Pausing": "PauseLimits",
    "Processors": "ProcessorPool",
    "Questions": "StorageRequests",
    "Ran": "RunResult",
    "Reception": "SlaveRegistry",
    "ScriptTexts": "ScriptCache",
    "ScriptsKept": "ScriptCache",
    "Seldom": "LogLimit",
    "SeldomLog": "RateLimitedLog",
    "Sieve": "HostScan",
    "Sifted": "HostScan",
    "Starts": "Pacer",
    "StopSignal": "CommandSignals",
    "Stretch": "Range",
    "Sweep": "RetentionPass",
    "auto_delete": "project_removal",
    "await_": "wait_for",
    "bury": "reap",
    "fallen_silent": "mark_silent",
    "last_words": "output_tail",
    "look_seldom": "collect_rarely",
    "looked_at": "end_step",
    "untake": "forget_processor",
}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAMES = set(NAME.findall(TEXT)) | {path.stem for path in CODE}


def forms(word: str) -> list[str]:
    """Return a word of the glossary as it may stand in code."""
    flat = re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")
    return [flat, flat.replace("_", ""), flat.replace("_", " "), word.lower()]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_the_glossary_occurs_in_the_code(word):
    assert any(form in TEXT.lower() for form in forms(word))


@pytest.mark.parametrize("old", RETIRED)
def test_a_retired_name_is_not_used(old):
    assert old not in NAMES
    assert f"_{old}" not in NAMES


@pytest.mark.parametrize("new", sorted(set(RETIRED.values())))
def test_the_better_name_is_used(new):
    assert new in NAMES


def test_the_glossary_is_read():
    assert len(WORDS) > 60
    assert "lease" in WORDS
    assert not any(form in TEXT.lower() for form in forms("flux compensator"))
