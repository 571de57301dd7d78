"""The storage's processes: they share the work and what is known of it, and end together."""

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from backend.core.storage import NoSuchMultipart, storage
from backend.local.ports import Ports
from backend.local.processes import Guard
from backend.local.stack import Stack
from backend.local.swift import Swift, processes
from tests.videos.sending import begin_put, end_put, put

MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(processes() < 2, reason="this machine has one core")


def group(pid: int) -> list[int]:
    """The living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, leader = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(leader) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def connections(pid: int, port: int) -> int:
    """How many a process has on its port."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {row[9] for row in table if row[3] == "01" and row[1].endswith(f":{port:04X}")}
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return len(ours & {link.removeprefix("socket:[").removesuffix("]") for link in links})


def cpu(pid: int) -> int:
    """Ticks that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def until(holds: Callable[[], bool]) -> None:
    """Raises AssertionError after half a minute."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def swift(guard: Guard, tmp_path: Path) -> Iterator[Swift]:
    """One of the test's own, ready."""
    server = Swift(
        tmp_path / "s3",
        port=Ports.free().s3,
        guard=guard,
        log=tmp_path / "s3.log",
        secret="secret",
        hash_prefix="a",
        hash_suffix="b",
        cors_origins=["*"],
    )
    server.launch()
    until(server.is_ready)
    yield server
    server.stop()


def pid_of(server: Swift) -> int:
    assert server.child is not None
    return server.child.pid


async def test_what_is_under_way_in_any_of_them_ends_with_its_upload(app: FastAPI, stack: Stack) -> None:
    key = f"swift/{uuid.uuid4()}.mp4"
    upload_id = await storage.create_multipart(key, content_type="video/mp4")
    data = b"part." * MIB
    urls = [
        await storage.presign_part(key, upload_id, number, size_bytes=len(data), expires_seconds=60)
        for number in range(1, 9)
    ]
    senders = [await begin_put(url, data) for url in urls]
    server = stack.parts[2]
    assert isinstance(server, Swift)
    shares = [connections(pid, server.port) for pid in group(pid_of(server))]
    assert min(shares) > 0, shares
    await storage.abort_multipart(key, upload_id)
    assert await asyncio.gather(*(end_put(sender, data) for sender in senders)) == [404] * 8
    with pytest.raises(NoSuchMultipart):
        await storage.list_parts(key, upload_id)


async def test_what_one_of_them_receives_leaves_the_others_in_peace(app: FastAPI, stack: Stack) -> None:
    key = f"swift/{uuid.uuid4()}.mp4"
    data = bytes(200 * MIB)
    url = await storage.presign_put(key, expires_seconds=60, content_type="video/mp4", size_bytes=len(data))
    server = stack.parts[2]
    assert isinstance(server, Swift)
    before = {pid: cpu(pid) for pid in group(pid_of(server))}
    assert (await put(url, data, {"Content-Type": "video/mp4"})).status_code == 200
    *others, most = sorted(cpu(pid) - ticks for pid, ticks in before.items())
    assert sum(others) < most / 4
    await storage.delete([key])


def test_what_one_of_them_makes_the_others_find(swift: Swift) -> None:
    asked = range(4 * processes())
    for name in ("one", "two"):
        assert {swift._request("GET", f"/{name}")[0] for _ in asked} == {404}
        assert swift._request("PUT", f"/{name}")[0] == 200
        assert {swift._request("GET", f"/{name}")[0] for _ in asked} == {200}


@pytest.mark.parametrize("which", [0, -1])
def test_when_one_is_killed_all_end(swift: Swift, which: int) -> None:
    first = pid_of(swift)
    assert len(group(first)) == processes()
    os.kill(group(first)[which], signal.SIGKILL)
    assert swift.child is not None
    assert swift.child.wait(30)
    until(lambda: not group(first))
    swift.launch()
    until(swift.is_ready)


def test_an_ordinary_end_leaves_none(swift: Swift) -> None:
    first = pid_of(swift)
    swift.stop()
    assert not group(first)
