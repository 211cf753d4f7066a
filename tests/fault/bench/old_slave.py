"""A slave of the version before, as a process: `python -m tests.fault.bench.old_slave HOST:PORT TOKEN_FILE`.

It says Hello once connected and prints what the master answers: `refused REASON`, or `welcome`.
"""

import secrets
import sys
import time
from pathlib import Path

from zspider.broker import messages as m
from zspider.broker.address import Address
from zspider.broker.link import Link
from zspider.broker.token import Token

SAY_AGAIN_S = 0.5


def main(master: str, token_file: str) -> None:
    link = Link(Address.parse(master), Token.parse(Path(token_file).read_text().strip()))
    session, said_at = secrets.token_bytes(16), 0.0
    while True:
        if link.is_connected and time.monotonic() > said_at + SAY_AGAIN_S:
            said_at = time.monotonic()
            link.send(m.Hello(m.PROTOCOL - 1, session, ["fetcher", "processor"], 10, "old", 1, "0", None, 0, 0))
        for message in link.poll(0.1).messages:
            match message:
                case m.Refused(reason=reason):
                    print(f"refused {reason}", flush=True)
                    return
                case m.Welcome():
                    print("welcome", flush=True)
                    return


if __name__ == "__main__":
    main(*sys.argv[1:])
