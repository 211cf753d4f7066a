"""A slave's messages to its master about itself: Hello, and the heartbeats (`Beat`) that follow."""

import os
import socket

from zspider import __version__
from zspider.broker.messages import PROTOCOL, Beat, Hello
from zspider.roles.slave.delivering import Delivering
from zspider.roles.slave.leases import Stage
from zspider.roles.slave.master_session import MasterSession
from zspider.roles.slave.work import Work

HELD_PER_HELLO = 1000


def hellos(session: MasterSession, work: Work, window: int) -> list[Hello]:
    """Build the Hello, in as many messages as the held leases need. window: the most leases the slave wants to hold."""
    held = work.held.in_full()
    pages = [held[at : at + HELD_PER_HELLO] for at in range(0, len(held), HELD_PER_HELLO)] or [[]]
    return [
        Hello(
            protocol=PROTOCOL,
            session=session.id,
            roles=work.roles,
            window=window,
            host=socket.gethostname()[:256],
            pid=os.getpid(),
            version=__version__,
            cluster=session.cluster,
            epoch=session.epoch,
            seen=work.held.seen,
            held=page,
            pages_left=left,
        )
        for left, page in zip(reversed(range(len(pages))), pages, strict=True)
    ]


def heartbeat(session: MasterSession, work: Work, delivering: Delivering, window: int) -> Beat:
    """Build a heartbeat. window: the most leases the slave wants to hold."""
    held, outbox = work.held.named()
    return Beat(
        session=session.id,
        epoch=session.epoch,
        seen=work.held.seen,
        held=held,
        outbox=outbox,
        window=window,
        fetching=work.held.count(Stage.FETCHING),
        fetched=work.fetching.fetched,
        processed=work.endings.processed,
        complaint=delivering.told,
        delivers=delivering.watch.delivers,
    )
