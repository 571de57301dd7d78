"""Swift's proxy, account, container and object servers in one process: `python -m backend.local.swift_server FOLDER`.

`FOLDER` holds what `swift.py` wrote: swift.conf, one configuration for each server, and `listen.json`. The process
works there, and every path is relative to it.
"""
# ruff: noqa: E402 — eventlet has to change the standard library before anything else imports it

import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)  # eventlet says at each import that it is one

import eventlet

eventlet.monkey_patch()

import json
import os
import sys
import time
import traceback
from array import array
from pathlib import Path
from typing import Any

from swift.common.utils import set_swift_dir

from backend.local.swift_multipart import keep_to_s3

PART_POWER = 6  # 64 partitions: one device needs no more, and it can never be changed
BACKLOG = 1024
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
        "ip": "127.0.0.1",
        "port": port,
        "replication_ip": "127.0.0.1",
        "replication_port": port,
        "device": "device",
        "weight": 100.0,
        "meta": "",
    }
    data = RingData([array("H", [0] * 2**PART_POWER)], [device], 32 - PART_POWER)
    data.save(f"{name}.ring.gz")


def serve(name: str, listener: Any) -> None:
    """Answer requests on an open listener, for good."""
    from swift.common.constraints import MAX_REQUEST_LINE
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.utils import NullLogger
    from swift.common.wsgi import loadapp

    eventlet.wsgi.server(
        listener,
        loadapp(f"{HERE}/{name}-server.conf", global_conf={"log_name": f"{name}-server"}),
        NullLogger(),
        protocol=SwiftHttpProtocol,
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
    """A server that ends takes the process with it: the supervisor starts all four again."""
    try:
        done.wait()
    except Exception:  # whatever it was, the log is the place for it
        traceback.print_exc()
    os._exit(1)


def main() -> None:
    """Open every port first, so that a taken one ends the process with a clear line; then serve."""
    os.chdir(sys.argv[1])
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    warnings.filterwarnings("ignore", message="capitalize_response_headers is disabled")
    listen = json.loads(Path("listen.json").read_text())
    listeners = {
        name: eventlet.listen((host, port), family=10 if ":" in host else 2, backlog=BACKLOG)
        for name, (host, port) in listen.items()
    }
    set_swift_dir(os.getcwd())
    keep_to_s3()
    for name in ("account", "container", "object"):
        write_ring(name, port=listen[name][1])
    threads = [eventlet.spawn(serve, name, listener) for name, listener in listeners.items()]
    for thread in threads:
        thread.link(end_process)
    eventlet.spawn(heal_listings)
    threads[0].wait()


if __name__ == "__main__":
    main()
