"""Bringing files in with the Python client: whole, in parts, over a bad line, cut off and resumed."""

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from dailies_client import AsyncClient, Client, ConnectionFailed, NotFound, UnsupportedType
from tests.conftest import ROOT, Live
from tests.flows.uploading import MB, sha256_of

PART = 16 * 1024 * 1024


def sender(live: Live, person: Client, film: Path, pause_seconds: float) -> subprocess.Popen[str]:
    tokens = json.dumps(asdict(person.tokens), default=str) if person.tokens else ""
    command = [sys.executable, "-m", "tests.clients.sender", live.url, tokens, str(film), str(pause_seconds)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "clients/python")}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


def test_a_small_file_goes_whole_and_comes_back_whole(person: Client, clip: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    video = person.videos.upload(clip, description="By the sea", on_progress=lambda *now: told.append(now))
    size = clip.stat().st_size
    assert (video.title, video.description, video.filename) == ("harbour", "By the sea", "harbour.mp4")
    assert (told[0], told[-1]) == ((0, size), (size, size))
    assert person.videos.wait(video.id, timeout=120).status == "completed"

    progress: list[tuple[int, int]] = []
    copy = tmp_path / "copy.mp4"
    assert person.videos.download(video.id, copy, on_progress=lambda *now: progress.append(now)) == size
    assert copy.read_bytes() == clip.read_bytes()
    assert progress[-1] == (size, size)
    assert list(tmp_path.iterdir()) == [copy]


def test_70_mb_go_in_parts_with_progress(person: Client, film: Path, tmp_path: Path) -> None:
    told: list[int] = []
    with film.open("rb") as file:
        video = person.videos.upload(file, title="All day", on_progress=lambda sent, _: told.append(sent))
        assert not file.closed
    assert (video.title, video.size_bytes) == ("All day", 70 * MB)
    assert (told[0], told[-1]) == (0, 70 * MB)
    assert told == sorted(told)
    assert person.uploads.list_open() == []
    assert person.uploads.usage().used_bytes == 70 * MB
    assert person.videos.download(video.id, tmp_path / "copy.mp4") == 70 * MB
    assert sha256_of(tmp_path / "copy.mp4") == sha256_of(film)


def test_what_was_cut_off_is_resumed_in_a_new_process(live: Live, person: Client, film: Path, tmp_path: Path) -> None:
    first = sender(live, person, film, 0.01)
    assert first.stdout is not None
    assert any(int(line) > 40 * MB for line in first.stdout)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    (unfinished,) = person.uploads.list_open()
    arrived = person.uploads.get(unfinished.id).parts
    assert [part.number for part in arrived or []] == [1, 2]

    again = sender(live, person, film, 0)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    *told, video_id = out.split()
    assert int(told[0]) == PART  # the first part was there
    assert min(int(each) for each in told[1:]) == 2 * PART
    assert video_id == unfinished.video_id
    assert person.videos.download(video_id, tmp_path / "copy.mp4") == 70 * MB
    assert sha256_of(tmp_path / "copy.mp4") == sha256_of(film)
    assert person.uploads.list_open() == []
    assert person.uploads.resume(unfinished.id, film).id == video_id


def test_progress_may_stop_an_upload_that_then_goes_on_or_is_given_up(person: Client, reel: Path) -> None:
    class Enough(Exception):
        pass

    def stop(sent: int, _: int) -> None:
        if sent > PART + MB:
            raise Enough

    with pytest.raises(Enough):
        person.videos.upload(reel, on_progress=stop, parallel=1)
    (unfinished,) = person.uploads.list_open()
    with pytest.raises(ValueError, match="not the file"):
        person.uploads.resume(unfinished.id, io.BytesIO(b"something else"))
    video = person.uploads.resume(unfinished.id, reel)
    assert (video.id, video.size_bytes) == (unfinished.video_id, 20 * MB)

    with pytest.raises(Enough):
        person.videos.upload(reel, on_progress=stop, parallel=1)
    (unfinished,) = person.uploads.list_open()
    person.uploads.abort(unfinished.id)
    assert person.uploads.list_open() == []
    with pytest.raises(NotFound):
        person.videos.get(unfinished.video_id)


def test_files_that_are_not_taken_are_refused_before_they_are_sent(person: Client) -> None:
    with pytest.raises(UnsupportedType) as refused:
        person.videos.upload(io.BytesIO(b"words"), filename="words.txt")
    assert (refused.value.status, refused.value.code) == (415, "unsupported_type")
    assert refused.value.request_id
    with pytest.raises(ValueError, match="filename"):
        person.videos.upload(io.BytesIO(b"words"))


class BadLine(httpx.HTTPTransport):
    """Parts on their way to the storage: the first with an address that has ended, the second breaks half-way."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            self.puts += 1
            if self.puts == 1:
                request.url = request.url.copy_set_param("X-Amz-Date", "20200101T000000Z")
            elif self.puts == 2:
                assert isinstance(request.stream, httpx.SyncByteStream)
                next(iter(request.stream))
                raise httpx.WriteError("broken")
        return super().handle_request(request)


def test_parts_are_signed_and_sent_again_over_a_bad_line(live: Live, person: Client, reel: Path) -> None:
    line = BadLine()
    with Client(live.url, tokens=person.tokens, transport=line) as client:
        video = client.videos.upload(reel, parallel=1)
    assert (line.puts, video.size_bytes) == (4, 20 * MB)


def test_a_line_that_stays_bad_is_said_to_be(live: Live, person: Client, clip: Path) -> None:
    class NoStorage(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "PUT":
                raise httpx.ConnectError("no route")
            return super().handle_request(request)

    with (
        Client(live.url, tokens=person.tokens, transport=NoStorage(), retries=1) as client,
        pytest.raises(ConnectionFailed, match="no route"),
    ):
        client.videos.upload(clip)


class BreakingOff(httpx.HTTPTransport):
    """The first download ends after a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        if request.method == "GET" and not request.url.path.startswith("/api/"):
            self.ranges.append(request.headers.get("range"))
            if len(self.ranges) == 1:
                assert isinstance(response.stream, httpx.SyncByteStream)
                response.stream = Broken(response.stream)
        return response


class Broken(httpx.SyncByteStream):
    def __init__(self, whole: httpx.SyncByteStream) -> None:
        self.whole = whole

    def __iter__(self):  # type: ignore[no-untyped-def]
        yield next(iter(self.whole))
        raise httpx.ReadError("cut")

    def close(self) -> None:
        self.whole.close()


def test_a_download_goes_on_where_it_broke_off(live: Live, person: Client, reel: Path) -> None:
    line = BreakingOff()
    with Client(live.url, tokens=person.tokens, transport=line) as client:
        video = client.videos.upload(reel)
        copy = io.BytesIO()
        assert client.videos.download(video.id, copy) == 20 * MB
    assert copy.getvalue() == reel.read_bytes()
    first, second = line.ranges
    assert first is None
    assert second is not None
    assert second.startswith("bytes=")
    assert second != "bytes=0-"


async def test_the_asynchronous_client_does_the_same(live: Live, person: Client, reel: Path, tmp_path: Path) -> None:
    told: list[int] = []
    async with AsyncClient(live.url, tokens=person.tokens) as client:
        video = await client.videos.upload(reel, on_progress=lambda sent, _: told.append(sent))
        assert told[-1] == 20 * MB
        assert video.job_id is not None
        states = [job.status async for job in client.jobs.follow(video.job_id)]
        assert states[-1] == "completed"
        assert (await client.videos.wait(video.id, timeout=120)).status == "completed"
        assert [each.id async for each in client.videos.list()] == [video.id]
        assert await client.videos.download(video.id, tmp_path / "copy.mp4") == 20 * MB
    assert (tmp_path / "copy.mp4").read_bytes() == reel.read_bytes()
