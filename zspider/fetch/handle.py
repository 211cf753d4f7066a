"""One libcurl easy handle: told what to send, and what it received. Knows nothing of redirects or tasks.

Handles are used again and again. An option is set only when it differs from what the handle has, and
a handle that was told anything out of the ordinary is reset before its next use.
"""

import os
import socket
import struct
from collections import deque
from enum import Enum
from typing import Any

import pycurl

from zspider.fetch import curl
from zspider.fetch.addresses import is_private
from zspider.fetch.headers import cookie_line
from zspider.fetch.receiver import Receiver
from zspider.fetch.request import Request
from zspider.fetch.room import Room
from zspider.settings import FetchSettings

_BUFFER_BYTES = 16 * 1024  # packed, it may hold a thousand times as much, which libcurl unpacks at one go
_DNS_TTL_S = 300
_CA_FILE = curl.ca_file()
_TCP_INFO = struct.Struct("=2xB21xI")  # retransmits in a row, and segments that nobody has confirmed
_SAFE = frozenset({"GET", "HEAD"})  # may be sent again: RFC 9110 section 9.2.1


class Reach(Enum):
    """How far a request without an answer has come, as far as the kernel knows."""

    UNKNOWN = "unknown"  # it is on its way, or the name is looked up
    CONNECTING = "connecting"  # nobody has answered the first packet
    ARRIVED = "arrived"  # the server's machine has confirmed all that was sent
    LOST = "lost"  # nobody has confirmed it in time, and it was sent again


def is_safe(hop: Request) -> bool:
    """Return whether this request may be sent twice without harm."""
    return hop.method in _SAFE and hop.body is None


class _Lent:
    """A socket that pycurl asks for its descriptor once, copies, and lets go of; closed then, without a warning."""

    def __init__(self, made: socket.socket) -> None:
        self._made = made

    def fileno(self) -> int:
        return self._made.fileno()

    def __del__(self) -> None:
        self._made.close()


class Handle:
    """An easy handle; `got` is what came through it since `prepare`.

    `refused` is the private address it would have talked to, if that was forbidden. What counts is the address that
    libcurl has found and is about to use, for each connection and each request: no name that is looked up again, nor an
    open connection, gets around it.
    """

    __slots__ = (
        "_can_guard",
        "_connect_timeout_ms",
        "_guarded",
        "_headers",
        "_paused",
        "_settings",
        "_special",
        "_timeout_ms",
        "easy",
        "got",
        "is_paused",
        "refused",
    )

    def __init__(self, settings: FetchSettings, room: Room, paused: "deque[Handle]") -> None:
        """paused: the set that this handle joins when libcurl is told to wait with the rest of a body."""
        self.easy = pycurl.Curl()
        self._settings = settings
        self._can_guard = settings.private_networks == "deny"
        self._guarded = False
        self.is_paused = False  # and one of `paused`
        self.got = Receiver(settings, room, self._on_pause)
        self._paused = paused
        self._configure()
        self.forget()

    def _configure(self) -> None:
        """Set what every request needs. The environment's proxies are switched off: settings name ours."""
        easy = self.easy
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.TCP_NODELAY, 1)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.BUFFERSIZE, _BUFFER_BYTES)
        easy.setopt(pycurl.DNS_CACHE_TIMEOUT, _DNS_TTL_S)
        easy.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        easy.setopt(pycurl.PROXY, "")
        easy.setopt(pycurl.NOPROXY, "")
        easy.setopt(pycurl.ACCEPT_ENCODING, curl.ACCEPT_ENCODING)
        easy.setopt(pycurl.COOKIEFILE, "")  # cookies of this fetch only: kept in memory, cleared by `forget`
        easy.setopt(pycurl.MAXFILESIZE_LARGE, self._settings.body_bytes_max)  # by Content-Length, before a byte came
        if _CA_FILE:
            easy.setopt(pycurl.CAINFO, _CA_FILE)
        easy.setopt(pycurl.HEADERFUNCTION, self.got.on_header)
        easy.setopt(pycurl.WRITEFUNCTION, self.got.on_body)
        if self._can_guard:
            easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
            easy.setopt(pycurl.PREREQFUNCTION, self._before_request)
        self._special = False
        self._headers: tuple[bytes, ...] = ()
        self._timeout_ms = self._connect_timeout_ms = -1

    def prepare(self, hop: Request, timeout_s: float, *, guarded: bool, fresh: bool) -> None:
        """Get ready to send `hop`.

        guarded: do not talk to private addresses; only for settings that deny private networks. (That a proxy does not
        either is the caller's to check.) fresh: use a new connection.

        Raises pycurl.error for what libcurl refuses.
        """
        self._guarded = guarded and not hop.proxy
        if self._special:
            self.easy.reset()
            self._configure()
        self.got.begin(may_repeat=hop.method in _SAFE and hop.body is None)
        self.refused = ""
        easy = self.easy
        easy.setopt(pycurl.URL, hop.url)
        if hop.headers is not self._headers:
            easy.setopt(pycurl.HTTPHEADER, list(hop.headers))
            self._headers = hop.headers
        timeout_ms, connect_timeout_ms = max(1, int(timeout_s * 1000)), max(1, int(hop.connect_timeout_s * 1000))
        if timeout_ms != self._timeout_ms:
            easy.setopt(pycurl.TIMEOUT_MS, timeout_ms)
            self._timeout_ms = timeout_ms
        if connect_timeout_ms != self._connect_timeout_ms:
            easy.setopt(pycurl.CONNECTTIMEOUT_MS, connect_timeout_ms)
            self._connect_timeout_ms = connect_timeout_ms
        if (
            hop.cookies
            or hop.proxy
            or hop.method != "GET"
            or hop.body is not None
            or not hop.validate_cert
            or hop.accept_encoding != curl.ACCEPT_ENCODING
        ):
            self._prepare_special(hop)
        if fresh:
            self._special = True
            easy.setopt(pycurl.FRESH_CONNECT, 1)

    def _prepare_special(self, hop: Request) -> None:
        self._special = True
        easy = self.easy
        if hop.method == "HEAD":
            easy.setopt(pycurl.NOBODY, 1)
            easy.setopt(pycurl.MAXFILESIZE_LARGE, 0)  # the length told is that of a body that does not come
        elif hop.body is not None:
            easy.setopt(pycurl.POSTFIELDS, hop.body)
        if hop.method not in ("GET", "HEAD") or hop.body is not None:
            easy.setopt(pycurl.CUSTOMREQUEST, hop.method)
        if hop.cookies:
            easy.setopt(pycurl.COOKIE, cookie_line(hop.cookies.items()))
        if hop.accept_encoding != curl.ACCEPT_ENCODING:
            easy.setopt(pycurl.ACCEPT_ENCODING, hop.accept_encoding)
        if not hop.validate_cert:
            easy.setopt(pycurl.SSL_VERIFYPEER, 0)
            easy.setopt(pycurl.SSL_VERIFYHOST, 0)
        if hop.proxy:
            easy.setopt(pycurl.PROXY, hop.proxy.url)
            if hop.proxy.username or hop.proxy.password:
                easy.setopt(pycurl.PROXYUSERNAME, hop.proxy.username)
                easy.setopt(pycurl.PROXYPASSWORD, hop.proxy.password)

    def _open_socket(self, _purpose: int, address: Any) -> Any:
        """Make the socket for a connection, unless it would lead to a private address."""
        family, kind, protocol, peer = address
        if self._guarded and is_private(str(peer[0])):
            self.refused = str(peer[0])
            return pycurl.SOCKET_BAD
        return _Lent(socket.socket(family, kind, protocol))

    def _before_request(self, peer_ip: str, *_: object) -> int:
        """Check the address of a connection that was open already."""
        if self._guarded and is_private(peer_ip):
            self.refused = peer_ip
            return int(pycurl.PREREQFUNC_ABORT)
        return int(pycurl.PREREQFUNC_OK)

    @property
    def status(self) -> int:
        """The HTTP status of the response."""
        return int(self.easy.getinfo(pycurl.RESPONSE_CODE))

    @property
    def peer_is_private(self) -> bool:
        """Whether the server (or the proxy) just talked to has a private address."""
        return is_private(self.easy.getinfo(pycurl.PRIMARY_IP))

    @property
    def was_connected(self) -> bool:
        """Whether the transfer, which has ended, made a connection of its own."""
        return bool(self.easy.getinfo(pycurl.NUM_CONNECTS))

    def _on_pause(self) -> None:
        if not self.is_paused:
            self.is_paused = True
            self._paused.append(self)

    @property
    def connect_s(self) -> float:
        """How long the transfer's connection took to be made; 0 if it was there."""
        return float(self.easy.getinfo(pycurl.CONNECT_TIME))

    def resume(self) -> None:
        """Go on after a pause: waiting data comes now, and more. The caller has taken the handle from `paused`.

        Raises pycurl.error when that ends the transfer.
        """
        self.is_paused = False
        self.easy.pause(pycurl.PAUSE_CONT)

    def reach(self) -> Reach:
        """Return whether what was sent has arrived at the server's machine, as far as the kernel knows."""
        fd = self.easy.getinfo(pycurl.ACTIVESOCKET)
        if fd < 0:  # libcurl tells it when it is connected
            return Reach.CONNECTING if self.easy.getinfo(pycurl.NAMELOOKUP_TIME) else Reach.UNKNOWN
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                packed = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        except OSError:
            return Reach.UNKNOWN
        retransmits, unconfirmed = _TCP_INFO.unpack(packed)
        if retransmits:
            return Reach.LOST
        return Reach.UNKNOWN if unconfirmed else Reach.ARRIVED

    def cookies(self) -> dict[str, str]:
        """Return name and value of every cookie that servers set and libcurl's rules let in, since `forget`."""
        found = {}
        for line in self.easy.getinfo_raw(pycurl.INFO_COOKIELIST):
            name, value = line.split(b"\t", 6)[5:]  # Netscape's format: seven fields
            found[name.decode("latin-1")] = value.decode("latin-1")
        return found

    def unpause(self) -> None:
        """Take the handle out of `paused`: its transfer has ended."""
        self.is_paused = False
        self._paused.remove(self)

    def forget(self) -> None:
        """Drop everything of the last fetch, before the handle serves another one."""
        if self.is_paused:
            self.unpause()
        self.got.forget()
        self.easy.setopt(pycurl.COOKIELIST, "ALL")

    def close(self) -> None:
        """Free libcurl's part."""
        self.easy.close()
