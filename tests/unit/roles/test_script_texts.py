"""The master's cache of scripts before its database."""

from zspider.roles.script_texts import ScriptTexts

SCRIPT = b"s" * 32


class LaterWriter:
    """Does what it was asked for when the test says so."""

    def __init__(self):
        self.reads = []

    def call(self, work, then, failed):
        self.reads.append(then)


def test_a_slave_that_asks_again_while_a_script_is_read_gets_it_once():
    writer = LaterWriter()
    texts = ScriptTexts(writer)
    sent = []
    for _ in range(2):  # the database takes longer than the slave's patience
        texts.with_text(SCRIPT, (b"slave", ""), sent.append)
    texts.with_text(SCRIPT, (b"other", ""), sent.append)
    for read in writer.reads:
        read("the text")
    assert sent == ["the text", "the text"]
    assert len(writer.reads) == 1
