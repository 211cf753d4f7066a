"""The scripts of a processor: loaded when they are needed, and not kept without end."""

from hashlib import sha256
from types import SimpleNamespace

from zspider.broker.messages import Page
from zspider.roles.processor.options import ProcessorOptions
from zspider.roles.processor.scripts import LOADED_MAX, Scripts

SCRIPT = "from zspider import BaseHandler\n\nclass Handler(BaseHandler):\n    pass\n"


def page(digest: bytes, project: int = 1) -> Page:
    return Page(1, project, "demo", "RUNNING", digest, "t", 0, 1, b"p" * 16, {}, {}, b"")


def test_of_too_many_loaded_scripts_those_used_longest_ago_go_and_are_loaded_again():
    loads = []
    retirement = SimpleNamespace(on_memory_error=lambda error: "", make_room=bool)
    scripts = Scripts(ProcessorOptions(), retirement, lambda name: None, before_load=lambda: loads.append(1))
    digests = []
    for number in range(LOADED_MAX + 10):
        text = f"# {number}\n{SCRIPT}"
        digests.append(sha256(text.encode()).digest())
        scripts.put(digests[-1], text)
        assert scripts.get(page(digests[-1])) is not None
        scripts.get(page(digests[0]))  # in use all the time
    assert len(scripts._loaded) == LOADED_MAX
    assert len(loads) == LOADED_MAX + 10
    scripts.get(page(digests[1]))
    assert len(loads) == LOADED_MAX + 11
