"""One libcurl easy handle: told what to send, and what it received. Knows nothing of redirects or tasks.

Handles are used again and again. An option is set only when it differs from what the handle has, and
a handle that was told anything out of the ordinary is reset before its next use.
"""

import socket
from typing import Any

import pycurl

from zspider.fetch import curl
from zspider.fetch.addresses import is_private
from zspider.fetch.headers import cookie_line
from zspider.fetch.request import Request
from zspider.settings import FetchSettings

_BUFFER_BYTES = 64 * 1024  # one callback for most pages instead of one per 16 KiB
_DNS_TTL_S = 300
_CA_FILE = curl.ca_file()


class _Lent:
    """A socket that pycurl asks for its descriptor once, copies, and lets go of; closed then, without a warning."""

    def __init__(self, made: socket.socket) -> None:
        self._made = made

    def fileno(self) -> int:
        return self._made.fileno()

    def __del__(self) -> None:
        self._made.close()


class Handle:
    """An easy handle and what came through it since `prepare`.

    `lines` are the header lines and `chunks` the decoded body; `refused` is the private address it
    would have talked to, if that was forbidden. What counts is the address that libcurl has found and is about to
    use, for each connection and each request: no name that is looked up again, nor an open connection, gets around it.
    """

    __slots__ = (
        "_body_bytes_max",
        "_can_guard",
        "_connect_timeout_ms",
        "_guarded",
        "_headers",
        "_size",
        "_special",
        "_timeout_ms",
        "chunks",
        "easy",
        "lines",
        "overflowed",
        "refused",
    )

    def __init__(self, settings: FetchSettings) -> None:
        self.easy = pycurl.Curl()
        self._body_bytes_max = settings.body_bytes_max
        self._can_guard = settings.private_networks == "deny"
        self._guarded = False
        self.lines: list[bytes] = []
        self.chunks: list[bytes] = []
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
        easy.setopt(pycurl.MAXFILESIZE_LARGE, self._body_bytes_max)  # by Content-Length, before a byte came
        if _CA_FILE:
            easy.setopt(pycurl.CAINFO, _CA_FILE)
        easy.setopt(pycurl.HEADERFUNCTION, self.lines.append)
        easy.setopt(pycurl.WRITEFUNCTION, self._on_body)
        if self._can_guard:
            easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
            easy.setopt(pycurl.PREREQFUNCTION, self._before_request)
        self._special = False
        self._headers: tuple[bytes, ...] = ()
        self._timeout_ms = self._connect_timeout_ms = -1

    def _on_body(self, chunk: bytes) -> int | None:
        self._size += len(chunk)
        if self._size > self._body_bytes_max:
            self.overflowed = True
            self.chunks.clear()
            return -1  # libcurl ends the transfer
        self.chunks.append(chunk)
        return None

    def prepare(self, hop: Request, timeout_s: float, *, guarded: bool) -> None:
        """Get ready to send `hop`. guarded: do not talk to private addresses, or to a proxy that would: its caller sees
        to that. Only for settings that deny private networks.

        Raises pycurl.error for what libcurl refuses.
        """
        self._guarded = guarded and not hop.proxy
        if self._special:
            self.easy.reset()
            self._configure()
        self.lines.clear()
        self.chunks.clear()
        self._size = 0
        self.overflowed = False
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
        """The same check for a connection that was open already."""
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
    def header_bytes(self) -> int:
        """How many bytes of headers came."""
        return sum(map(len, self.lines))

    @property
    def content(self) -> bytes:
        """The decoded body."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)

    def cookies(self) -> dict[str, str]:
        """Name and value of every cookie that servers set and libcurl's rules let in, since `forget`."""
        found = {}
        for line in self.easy.getinfo_raw(pycurl.INFO_COOKIELIST):
            name, value = line.split(b"\t", 6)[5:]  # Netscape's format: seven fields
            found[name.decode("latin-1")] = value.decode("latin-1")
        return found

    def forget(self) -> None:
        """Let go of all that a fetch left behind, before the handle serves another one."""
        self.lines.clear()
        self.chunks.clear()
        self.easy.setopt(pycurl.COOKIELIST, "ALL")

    def close(self) -> None:
        """Free libcurl's part."""
        self.easy.close()
