"""A web server whose pages are endless, in chunks of one byte: `python -m tests.fault.bench.chunks ADDRESS PORT`."""

import socket
import sys
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"1\r\na\r\n" * 10_000


def answer(connection: socket.socket) -> None:
    """Until the client has had enough."""
    with connection:
        try:
            connection.recv(65536)
            connection.sendall(HEAD)
            while True:
                connection.sendall(CHUNKS)
        except OSError:
            pass


def main() -> None:
    with socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=200) as listener:
        print("listening", flush=True)
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
