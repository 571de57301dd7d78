"""Swift's proxy, account, container and object servers: `python -m backend.local.swift_server FOLDER`.

`FOLDER` holds what `swift.py` wrote: swift.conf, one configuration for each server, and `listen.json`. The processes
work there, and every path is relative to it. Each has all four servers and answers whole requests; they share the port
and the disk. The first starts the others, and all end together.
"""
# ruff: noqa: E402 — eventlet has to change the standard library before anything else imports it

import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)  # eventlet says at each import that it is one

import eventlet

eventlet.monkey_patch()

import ctypes
import gc
import json
import mmap
import os
import signal
import sys
import time
import traceback
from array import array
from pathlib import Path
from typing import Any

from eventlet import greenio
from swift.common.utils import set_swift_dir

from backend.local import swift_network
from backend.local.leash import PR_SET_PDEATHSIG
from backend.local.swift_multipart import keep_to_s3

PART_POWER = 6  # 64 partitions: one device needs no more, and it can never be changed
#: The inner servers, and what Swift takes for their ports.
INNER = {"account": 1, "container": 2, "object": 3}
BUFFER_BYTES = 1024 * 1024
BACKLOG = 1024
#: So long a process leaves a new connection to those that have less to do.
COURTESY_SECONDS = 0.005
HEAL_SECONDS = 2.0
PENDING = Path("device/async_pending")
HERE = "/proc/self/cwd"  # paste wants an absolute path, and takes a percent sign in it for something else


def write_ring(name: str, *, port: int) -> None:
    """A ring with one replica on our one device."""
    from swift.common.ring import RingData  # after set_swift_dir

    device = {
        "id": 0,
        "region": 1,
        "zone": 1,
        "ip": swift_network.HOST,
        "port": port,
        "replication_ip": swift_network.HOST,
        "replication_port": port,
        "device": "device",
        "weight": 100.0,
        "meta": "",
    }
    data = RingData([array("H", [0] * 2**PART_POWER)], [device], 32 - PART_POWER)
    data.save(f"{name}.ring.gz")


class Shared:
    """A listener on which several processes accept: who has least to do takes the next connection."""

    def __init__(self, listener: Any, processes: int) -> None:
        self._listener = listener
        self.family = listener.family
        self._counts = memoryview(mmap.mmap(-1, processes * 8)).cast("q")
        self.me = 0  #: number of the process

    def count(self, more: int) -> None:
        """So many connections more have something to do; or fewer."""
        self._counts[self.me] += more

    def accept(self) -> tuple[Any, Any]:
        """The next connection and its address."""
        while True:
            eventlet.hubs.trampoline(self._listener.fd, read=True)
            if self._counts[self.me] > min(self._counts):
                eventlet.sleep(COURTESY_SECONDS)  # for the others; if they are busy, it is still there
            if (found := greenio.base.socket_accept(self._listener.fd)) is not None:
                connection, address = found
                eventlet.hubs.notify_opened(connection.fileno())
                return greenio.GreenSocket(connection), address

    def getsockname(self) -> Any:
        """Where it listens."""
        return self._listener.getsockname()

    def close(self) -> None:
        """It is the others', too."""


def load(name: str) -> Any:
    """The application of one server."""
    from swift.common.wsgi import loadapp

    return loadapp(f"{HERE}/{name}-server.conf", global_conf={"log_name": f"{name}-server"})


def serve(app: Any, listener: Any) -> None:
    """Answer requests on an open listener, for good."""
    from swift.common.constraints import MAX_REQUEST_LINE
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.utils import NullLogger

    class Protocol(SwiftHttpProtocol):  # type: ignore[misc]
        """Counts itself while it is asked something, and until it is asked for the first time."""

        def __init__(self, *args: Any, **more: Any) -> None:  # returns when the connection has ended
            self._counted = 0
            self._count(1)
            try:
                super().__init__(*args, **more)
            finally:
                self._count(0)

        def handle_one_response(self) -> None:
            self._count(1)
            try:
                super().handle_one_response()
            finally:
                self._count(0)

        def _count(self, wanted: int) -> None:
            if isinstance(listener, Shared):
                listener.count(wanted - self._counted)
            self._counted = wanted

    eventlet.wsgi.server(
        listener,
        app,
        NullLogger(),
        protocol=Protocol,
        custom_pool=eventlet.GreenPool(1024),
        keepalive=True,
        socket_timeout=60,
        minimum_chunk_size=1,
        url_length_limit=MAX_REQUEST_LINE,
        capitalize_response_headers=False,  # S3 clients want `ETag`, not `Etag`
    )


def heal_listings() -> None:
    """Send the listings what they could not be told in time, for good.

    An object that is stored while its listing does not answer (a full disk, a machine under load) leaves a note in
    `async_pending`. Elsewhere a daemon of Swift's sends them; here its code runs when there are any.
    """
    eventlet.sleep(HEAL_SECONDS)  # the servers first
    from swift.common.utils import readconf
    from swift.obj.updater import ObjectUpdater

    conf = readconf(f"{HERE}/object-server.conf", "app:object-server", log_name="object-updater")
    updater = ObjectUpdater(conf | {"objects_per_second": "500"})
    while True:
        eventlet.sleep(HEAL_SECONDS)
        try:
            if PENDING.is_dir() and any(PENDING.iterdir()):
                updater.begin = time.time()
                updater.object_sweep(str(PENDING.parent))
        except Exception:  # what cannot be told now is told later: no reason to end the servers
            traceback.print_exc()


def end_process(done: Any) -> None:
    """A server that ends takes the process with it, and that the others: the supervisor starts all again."""
    try:
        done.wait()
    except Exception:  # whatever it was, the log is the place for it
        traceback.print_exc()
    os._exit(1)


def start_others(number: int) -> int:
    """Start the other processes; answers which one this is. What is loaded already they have in common."""
    gc.collect()
    gc.freeze()
    first = os.getpid()
    others: list[int] = []
    for me in range(1, number):
        if (other := os.fork()) == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != first:  # it ended before the line above
                os._exit(1)
            eventlet.hubs.use_hub()  # what is waited for in one process must not wake another
            return me
        others.append(other)

    def look(*_: object) -> None:
        for other in others:  # Swift has children of its own, short ones
            ended, status = os.waitpid(other, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                os.write(sys.stderr.fileno(), f"another process of the storage ended ({code})\n".encode())
                os._exit(1)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for other in others:
            os.kill(other, signal.SIGKILL)
        for other in others:  # the port is free when the first is gone
            os.waitpid(other, 0)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGCHLD, look)
    look()  # what ended before that line
    return 0


def main() -> None:
    """Open the port first, so that a taken one ends the process with a clear line; then serve."""
    os.chdir(sys.argv[1])
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    warnings.filterwarnings("ignore", message="capitalize_response_headers is disabled")
    listen = json.loads(Path("listen.json").read_text())
    host, port = listen["address"]
    listener = eventlet.listen((host, port), family=10 if ":" in host else 2, backlog=BACKLOG)
    shared = Shared(listener, listen["processes"])
    set_swift_dir(os.getcwd())
    keep_to_s3()
    for name, number in INNER.items():
        write_ring(name, port=number)
    apps = {name: load(name) for name in ("proxy", *INNER)}
    shared.me = start_others(listen["processes"])
    inner = {name: swift_network.Inner(number) for name, number in INNER.items()}
    swift_network.keep_inside({INNER[name]: each for name, each in inner.items()}, buffer_bytes=BUFFER_BYTES)
    threads = [eventlet.spawn(serve, apps[name], each) for name, each in inner.items()]
    threads.append(eventlet.spawn(serve, apps["proxy"], shared))
    for thread in threads:
        thread.link(end_process)
    if shared.me == 0:
        eventlet.spawn(heal_listings)
    threads[0].wait()


if __name__ == "__main__":
    main()
