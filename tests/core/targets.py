"""Addresses that nobody may have us connect to, and a listener that says whether somebody came."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

#: Each is an address with `{port}` where the listener's goes. Most of them lead to this machine in one way or another.
TARGETS = (
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/hook",
    "http://127.255.255.254:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fc00::1]:{port}/",
    "http://[fd00:ec2::254]:{port}/latest/meta-data/",
    "http://[ff02::1]:{port}/",
    "http://169.254.169.254:{port}/latest/meta-data/",
    "http://168.63.129.16:{port}/machine",
    "http://100.100.100.200:{port}/latest/meta-data/",
    "http://192.0.0.192:{port}/opc/v2/instance/",
    "http://10.0.0.1:{port}/",
    "http://172.16.0.1:{port}/",
    "http://192.168.0.1:{port}/",
    "http://224.0.0.1:{port}/",
    "http://255.255.255.255:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1\t:{port}/",
    "http:////127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_POST",
    "file:///etc/passwd?{port}",
)


@dataclass
class Listener:
    """Listens on all addresses of this machine, of both families, and answers what it is told to."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    #: The address of ours that each came to.
    accepted: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(str(writer.get_extra_info("sockname")[0]))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    """A listener on a port that is free for both families."""
    listener = Listener()
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        listener.port = both.getsockname()[1]
        server = await asyncio.start_server(listener.serve, sock=both)
        async with server:
            yield listener
