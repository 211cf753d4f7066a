"""Reading one multipart message within limits: MAXMSGSIZE is per frame, and frames have no limit of their own."""

from typing import NamedTuple

import zmq

from zspider.broker.sockets import Socket


class Incoming(NamedTuple):
    """One ZeroMQ message."""

    frames: list[bytes]  # empty when it was over a limit
    first: zmq.Frame  # it has the peer's name and address
    problem: str  # "", or which limit it was over

    @property
    def address(self) -> str:
        """The peer's IP address; "?" when it did not come over TCP or spoke an old protocol."""
        return self._property("Peer-Address") or "?"

    @property
    def user(self) -> bytes:
        """The peer's public key in Z85; empty without CURVE."""
        return self._property("User-Id").encode()

    def _property(self, name: str) -> str:
        try:
            return str(self.first.get(name))
        except zmq.ZMQError:
            return ""


def receive(socket: Socket, *, frames_max: int, bytes_max: int) -> Incoming | None:
    """Return the next message if one is there, else None. Frames over the limits are read and thrown away."""
    try:
        frame = first = socket.recv(zmq.DONTWAIT, copy=False)
    except zmq.Again:
        return None
    frames = [frame.bytes]
    count, size = 1, len(frames[0])
    while frame.more:  # a message arrives whole or not at all: the rest is there
        frame = socket.recv(zmq.DONTWAIT, copy=False)
        count, size = count + 1, size + len(frame)
        if count <= frames_max and size <= bytes_max:
            frames.append(frame.bytes)
        else:
            frames.clear()
    if count > frames_max or size > bytes_max:
        return Incoming([], first, f"{count} frames with {size} bytes, the limits are {frames_max} and {bytes_max}")
    return Incoming(frames, first, "")
