"""The demo site over real sockets."""

import http.client
import socket
import sys

import pytest
from tests.support.cluster import ZSPIDERD
from tests.support.process import Process, run
from zspider.roles.demo_site import SERVER, Site, is_demo_site

PAGES = 300


@pytest.fixture(scope="module")
def port():
    with Process([*ZSPIDERD, "demo-site", "--port", "0", "--pages", str(PAGES)]) as server:
        found = server.wait_for(r"http://127\.0\.0\.1:(\d+)/ \(300 articles\)")
        yield int(found[1])
        assert server.stop() == 0


def ask(port: int, raw: bytes) -> bytes:
    """Send bytes, then read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(raw)
        return b"".join(iter(lambda: client.recv(65536), b""))


def fill(client: socket.socket, request: bytes, bytes_max: int) -> None:
    """Send the same again and again, and never read."""
    sent = 0
    while sent < bytes_max:
        sent += client.send(request)


def test_a_connection_is_kept_for_many_requests(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    first = connection.sock
    for number in (1, 2, 1, PAGES):
        connection.request("GET", f"/article/{number}.html")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("Content-Type") == "text/html; charset=utf-8"
        assert answer.getheader("Server") == SERVER
        assert answer.read() == Site(PAGES).article(number)
        assert connection.sock is first
    connection.close()


def test_pipelined_requests_are_answered_in_order(port):
    paths = [f"/article/{n}.html" for n in range(1, 101)]
    asked = "".join(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n" for path in paths)
    answer = ask(port, asked.encode() + b"GET /robots.txt HTTP/1.1\r\nConnection: close\r\n\r\n")
    found = [answer.index(b"<title>Article %d:" % n) for n in range(1, 101)]
    assert found == sorted(found)
    assert answer.endswith(b"User-agent: *\nDisallow:\n")


def test_a_request_may_come_in_pieces(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /robots.txt HTTP/1.1\r\nHost: h\r\n\r\n":
            client.sendall(bytes([byte]))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_head_has_the_header_of_get_and_no_body(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("HEAD", "/article/1.html")
    answer = connection.getresponse()
    assert int(answer.getheader("Content-Length")) == len(Site(PAGES).article(1))
    assert answer.read() == b""
    connection.request("GET", "/index/1.html")  # nothing was left over on the connection
    assert b"<title>Shelf 1:" in connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /article/301.html HTTP/1.1\r\nConnection: close\r\n\r\n", b"404"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"431"),
    ],
    ids=["no such page", "HTTP/1.0", "POST", "nonsense", "endless header"],
)
def test_the_server_answers_and_closes(port, raw, status):
    assert ask(port, raw).split()[1] == status


def test_a_client_that_does_not_read_does_not_fill_the_memory(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setblocking(False)
        request = b"GET /article/1.html HTTP/1.1\r\n\r\n" * 1000
        with pytest.raises(BlockingIOError):  # it stops reading us as soon as the sockets' buffers are full
            fill(client, request, 100_000_000)
    assert is_demo_site(port)


def test_our_demo_site_is_told_from_other_servers(port):
    assert is_demo_site(port)
    with Process([sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]) as other:
        assert not is_demo_site(int(other.wait_for(r"port (\d+)")[1]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert not is_demo_site(free.getsockname()[1])


def test_a_port_in_use_is_one_line(port):
    ran = run([*ZSPIDERD, "demo-site", "--port", str(port)])
    assert ran.code == 2
    assert ran.err == f"zspiderd: cannot serve the demo site on 127.0.0.1:{port}: Address already in use\n"


def test_an_export_writes_files_for_another_web_server(tmp_path):
    ran = run([*ZSPIDERD, "demo-site", "--pages", "5", "--export", str(tmp_path / "site")])
    assert (ran.code, ran.out) == (0, f"8 files in {tmp_path / 'site'}\n")
    assert (tmp_path / "site/article/5.html").read_bytes() == Site(5).article(5)
    (tmp_path / "file").write_text("")
    ran = run([*ZSPIDERD, "demo-site", "--export", str(tmp_path / "file")])
    assert ran.code == 2
    assert "cannot be written: Not a directory" in ran.err
