"""A server of one folder by ranges, which counts what it is asked and what it sends."""

import os
import re
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from types import TracebackType

_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)", re.IGNORECASE)
#: Little is on the way at any time, so that what was sent is nearly what was read.
_BUFFER_BYTES = 64 * 1024


@dataclass
class Count:
    """What one step cost."""

    requests: int = 0
    sent_bytes: int = 0


class RangeServer:
    """Serves `folder` on loopback from threads of its own, like a storage that is near, or `delay_seconds` away."""

    def __init__(self, folder: Path) -> None:
        self.count = Count()
        self.delay_seconds = 0.0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while outer._answer(self.rfile, self.connection, folder):
                        pass
                except OSError:
                    return  # the reader has seen enough

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "RangeServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def address(self, path: Path) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{path.name}"

    def start_counting(self) -> None:
        self.count = Count()

    def _answer(self, lines: BufferedIOBase, connection: socket.socket, folder: Path) -> bool:
        head = b""
        while (line := lines.readline()) not in (b"\r\n", b""):
            head += line
        if not head:
            return False
        count = self.count
        count.requests += 1
        time.sleep(self.delay_seconds)
        path = folder / head.split()[1].decode().lstrip("/").partition("?")[0]
        size = path.stat().st_size
        wanted = _RANGE.search(b"\r\n" + head)
        start = int(wanted[1]) if wanted else 0
        end = min(int(wanted[2]), size - 1) if wanted and wanted[2] else size - 1
        if start >= size:
            connection.sendall(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")
            return True
        status = "206 Partial Content" if wanted else "200 OK"
        told = f"HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nContent-Length: {end - start + 1}\r\n"
        connection.sendall(f"{told}Content-Range: bytes {start}-{end}/{size}\r\n\r\n".encode())
        with path.open("rb") as file:
            while start <= end:
                sent = os.sendfile(connection.fileno(), file.fileno(), start, min(1024 * 1024, end - start + 1))
                start += sent
                count.sent_bytes += sent
        return True
