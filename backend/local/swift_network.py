"""The way from Swift's proxy to its three inner servers: a pair of sockets within the process for each connection.

The inner servers know no authentication, so they listen nowhere. Swift tells them apart by ports that are none.
"""

import itertools
import socket
import time
from typing import Any

from eventlet.queue import LightQueue

HOST = "127.0.0.1"


class Inner:
    """What one inner server listens on. To eventlet it is a socket."""

    family = socket.AF_INET

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting = LightQueue()
        self._numbers = itertools.count(1)

    def connect(self, *, buffer_bytes: int) -> socket.socket:
        """The asking end of a new connection; the system gives it as much of the buffer as it allows."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self._waiting.put(theirs)
        return ours

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """The answering end of the next one, and an address of its own."""
        return self._waiting.get(), (HOST, next(self._numbers))

    def getsockname(self) -> tuple[str, int]:
        """What Swift knows it by."""
        return HOST, self._port

    def close(self) -> None:
        """Nothing is held."""


def keep_inside(servers: dict[int, Inner], *, buffer_bytes: int) -> None:
    """Have Swift connect to these servers by their ports. Called once in each process."""
    from swift.common.bufferedhttp import BufferedHTTPConnection

    def connect(self: Any) -> None:
        self._connected_time = time.time()
        self.sock = servers[self.port].connect(buffer_bytes=buffer_bytes)

    BufferedHTTPConnection.connect = connect
