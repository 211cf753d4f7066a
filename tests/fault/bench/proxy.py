"""A TCP proxy with faults, as a process: `python -m tests.fault.bench.proxy ADDRESS TARGET PORT ...`.

SIGUSR1: the next piece of each connection is cut in half, and then both ends are reset.
SIGUSR2: from now on pieces are late by up to DELAY_S; once more: they are not.
"""

import asyncio
import random
import signal
import socket
import struct
import sys

PIECE_BYTES = 64 * 1024
DELAY_S = 0.3


class Proxy:
    """Passes on what comes to its ports."""

    def __init__(self, address: str, target: str) -> None:
        self._address = address
        self._target = target
        self._doomed: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_late = False
        self._chance = random.Random()

    async def serve(self, ports: list[int]) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._doomed.update(self._writers))
        loop.add_signal_handler(signal.SIGUSR2, self._change_delay)
        for port in ports:
            await asyncio.start_server(lambda r, w, port=port: self._connected(r, w, port), self._address, port)
        print("listening", flush=True)
        await asyncio.Event().wait()

    def _change_delay(self) -> None:
        self._is_late = not self._is_late

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target, port)
        except OSError:
            _reset(writer)  # as the target itself would
            return
        ends = (writer, far_writer)
        self._writers.update(ends)
        both = [self._pass_on(reader, far_writer), self._pass_on(far_reader, writer)]
        await asyncio.wait([asyncio.ensure_future(one) for one in both], return_when=asyncio.FIRST_COMPLETED)
        self._writers.difference_update(ends)
        self._doomed.difference_update(ends)
        for end in ends:
            _reset(end)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the end of either, or until the connection's time has come."""
        try:
            while piece := await reader.read(PIECE_BYTES):
                if self._is_late:
                    await asyncio.sleep(self._chance.uniform(0, DELAY_S))
                is_doomed = writer in self._doomed and len(piece) > 1
                writer.write(piece[: len(piece) // 2] if is_doomed else piece)
                await writer.drain()
                if is_doomed:
                    return
        except OSError:
            pass  # one of them is gone: so will be the other


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


def main(address: str, target: str, *ports: str) -> None:
    asyncio.run(Proxy(address, target).serve([int(port) for port in ports]))


if __name__ == "__main__":
    main(*sys.argv[1:])
