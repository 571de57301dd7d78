"""Reading over http, as from storage: ranges, stalls, failures, and what must never be requested or told."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from backend.videos.media import MediaError, poster, probe
from tests.videos import media_corpus as corpus
from tests.videos.test_sandbox import alive, until

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

SIGNATURE = "X-Amz-Signature=5ecre75ecre75ecre7&X-Amz-Credential=who"


class Storage:
    """Serves one file by ranges over loopback, and misbehaves as told."""

    def __init__(self, path: Path | None = None) -> None:
        self.data = path.read_bytes() if path else b""
        self.requests: list[str] = []
        self.misbehave: Callable[[asyncio.StreamWriter, int], Awaitable[bool]] | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/videos/a.mp4?{SIGNATURE}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.requests.append(head.decode())
                if self.misbehave and await self.misbehave(writer, len(self.requests)):
                    return
                await self.send(writer, head.decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the tool went away
        finally:
            writer.close()

    async def send(self, writer: asyncio.StreamWriter, head: str, *, cut: int | None = None, also: str = "") -> None:
        """Answer a request; with `cut`, promise everything and send so many bytes. `also` are more headers."""
        wanted = re.search(r"(?i)range: bytes=(\d+)-(\d*)", head)
        start, end = (int(wanted[1]), int(wanted[2] or len(self.data) - 1)) if wanted else (0, len(self.data) - 1)
        if start >= len(self.data):
            writer.write(b"HTTP/1.1 416 Requested Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")
        else:
            body = self.data[start : end + 1]
            writer.write(
                b"HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\nContent-Type: video/mp4\r\n"
                + f"Content-Range: bytes {start}-{start + len(body) - 1}/{len(self.data)}\r\n".encode()
                + f"Content-Length: {len(body)}\r\n{also}\r\n".encode()
                + body[:cut]
            )
        await writer.drain()


@asynccontextmanager
async def serving(storage: Storage) -> AsyncIterator[Storage]:
    server = await asyncio.start_server(storage.answer, "127.0.0.1", 0, limit=2**20)
    storage.port = server.sockets[0].getsockname()[1]
    try:
        yield storage
    finally:
        server.close()


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    corpus.plain(tmp_path / "a.mp4")
    async with serving(Storage(tmp_path / "a.mp4")) as storage:
        yield storage


async def hang(writer: asyncio.StreamWriter, request: int) -> bool:
    """Answer the first look at the file's head, then promise bytes that never come."""
    if request == 1:
        return False
    writer.write(
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99999/100000\r\nContent-Length: 100000\r\n\r\n"
    )
    await writer.drain()
    await asyncio.sleep(600)
    return True


def answering(status: str, *, after: int) -> Callable[[asyncio.StreamWriter, int], Awaitable[bool]]:
    async def misbehave(writer: asyncio.StreamWriter, request: int) -> bool:
        if request <= after:
            return False
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return True

    return misbehave


def silent_about_the_address(error: MediaError) -> bool:
    told = f"{error!r} {error.message} {error.detail} {error.__cause__!r}"
    return not any(part in told for part in ("5ecre7", "X-Amz", "127.0.0.1", "who"))


async def test_a_file_is_read_over_http_by_ranges(storage: Storage, tmp_path: Path) -> None:
    info = await probe(storage.address)
    assert (info.width, info.height, info.size_bytes) == (320, 180, len(storage.data))
    await poster(storage.address, tmp_path / "p.jpg", info)
    assert (tmp_path / "p.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert "5ecre7" not in repr(vars(info))


@pytest.mark.parametrize(
    ("name", "maker", "seconds"), [("a.mp4", corpus.fragmented, 5.0), ("a.webm", corpus.untold_duration, 3.0)]
)
async def test_awkward_layouts_are_measured_over_http(
    name: str, maker: Callable[[Path], None], seconds: float, tmp_path: Path
) -> None:
    maker(tmp_path / name)
    async with serving(Storage(tmp_path / name)) as storage:
        assert (await probe(storage.address)).duration == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("maker", [corpus.truncated, corpus.hollow, corpus.empty, corpus.prose, corpus.noise])
async def test_a_bad_file_is_not_taken_for_bad_storage(maker: Callable[[Path], None], tmp_path: Path) -> None:
    maker(tmp_path / "a.mp4")
    async with serving(Storage(tmp_path / "a.mp4")) as storage:
        with pytest.raises(MediaError) as caught:
            await probe(storage.address)
    assert (caught.value.code, caught.value.retryable) == ("corrupt_media", False), caught.value.detail
    assert silent_about_the_address(caught.value)


async def test_half_a_file_is_taken_over_http_too(tmp_path: Path) -> None:
    corpus.half_sent(tmp_path / "a.mp4")
    async with serving(Storage(tmp_path / "a.mp4")) as storage:
        assert (await probe(storage.address)).video_codec == "h264"


@pytest.mark.parametrize("after", [0, 1, 2], ids=["at the head", "at the probe", "at the decode"])
@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Error", "403 Forbidden"])
async def test_bad_storage_is_not_taken_for_a_bad_file(storage: Storage, status: str, after: int) -> None:
    storage.misbehave = answering(status, after=after)
    with pytest.raises(MediaError) as caught:
        await probe(storage.address)
    assert (caught.value.code, caught.value.retryable) == ("storage_unavailable", True)
    assert silent_about_the_address(caught.value)


@pytest.mark.parametrize("closing", ["", "Connection: close\r\n"], ids=["kept", "closing"])
async def test_a_connection_cut_in_the_middle_is_storage_trouble(closing: str, tmp_path: Path) -> None:
    corpus.ffmpeg(*corpus.picture(6, "640x360"), *corpus.H264, "-g", "1", tmp_path / "a.mp4")
    async with serving(Storage(tmp_path / "a.mp4")) as storage:

        async def cut(writer: asyncio.StreamWriter, request: int) -> bool:
            if request == 1:
                return False
            await storage.send(writer, storage.requests[-1], cut=1000, also=closing)
            return True

        storage.misbehave = cut
        with pytest.raises(MediaError) as caught:
            await probe(storage.address)
    assert (caught.value.code, caught.value.retryable) == ("storage_unavailable", True), caught.value.detail


async def test_no_storage_at_all_is_storage_trouble() -> None:
    with pytest.raises(MediaError) as caught:
        await probe(f"http://127.0.0.1:9/a.mp4?{SIGNATURE}")
    assert (caught.value.code, caught.value.retryable) == ("storage_unavailable", True)
    assert silent_about_the_address(caught.value)


async def test_an_object_that_is_gone_is_not_tried_again(storage: Storage) -> None:
    storage.misbehave = answering("404 Not Found", after=0)
    with pytest.raises(MediaError) as caught:
        await probe(storage.address)
    assert (caught.value.code, caught.value.retryable) == ("storage_unavailable", False)


async def test_a_stalled_server_ends_in_time_and_leaves_no_process(storage: Storage) -> None:
    storage.misbehave = hang
    started = time.monotonic()
    with pytest.raises(MediaError) as caught:
        await probe(storage.address, timeout_seconds=1)
    assert time.monotonic() - started < 60, "not as long as the storage"
    assert (caught.value.code, caught.value.retryable) == ("probe_timeout", True)
    assert silent_about_the_address(caught.value)
    assert not alive(f":{storage.port}/")


async def test_cancelling_a_probe_leaves_no_process(storage: Storage) -> None:
    storage.misbehave = hang
    task = asyncio.create_task(probe(storage.address))
    await until(lambda: bool(alive(f":{storage.port}/")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(f":{storage.port}/")


async def test_a_stalled_poster_ends_in_time_and_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    info = await probe(storage.address)
    storage.misbehave = hang
    storage.requests.append("")
    with pytest.raises(MediaError) as caught:
        await poster(storage.address, tmp_path / "p.jpg", info, timeout_seconds=1)
    assert caught.value.code == "probe_timeout"
    assert not alive(f":{storage.port}/")
    assert not (tmp_path / "p.jpg").exists()


PLAYLIST = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n"
SCRIPT = "ffconcat version 1.0\nfile '{address}'\nduration 5\n"
MANIFEST = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S">'
    "<Period><AdaptationSet><Representation id='1'><BaseURL>{address}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>"
)


@pytest.mark.parametrize("text", [PLAYLIST, SCRIPT, MANIFEST], ids=["hls", "ffconcat", "dash"])
@pytest.mark.parametrize("over_http", [False, True], ids=["file", "http"])
async def test_a_playlist_in_disguise_makes_no_request(
    text: str, over_http: bool, storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "disguised.mp4").write_text(text.format(address=f"http://127.0.0.1:{storage.port}/elsewhere.ts"))
    async with serving(Storage(tmp_path / "disguised.mp4")) as server:
        with pytest.raises(MediaError) as caught:
            await probe(server.address if over_http else f"file:{tmp_path}/disguised.mp4")
    assert caught.value.code in ("unsupported_container", "corrupt_media")
    assert storage.requests == []


async def test_a_redirect_to_elsewhere_is_not_an_answer(storage: Storage) -> None:
    async with serving(Storage()) as server:
        server.misbehave = answering(f"302 Found\r\nLocation: {storage.address}", after=0)
        with pytest.raises(MediaError) as caught:
            await probe(server.address)
    assert caught.value.code == "storage_unavailable"
    assert storage.requests == []


async def test_a_source_that_is_neither_path_nor_address_is_a_mistake_of_ours() -> None:
    for source in ("concat:/etc/passwd", "/etc/passwd", "ftp://127.0.0.1/a", "pipe:0"):
        with pytest.raises(ValueError, match="source"):
            await probe(source)


async def test_the_tables_of_an_avi_are_not_visited_to_know_it(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    corpus.ffmpeg(*corpus.picture(20), *corpus.tone(20), "-c:v", "mpeg4", "-b:v", "2M", "-c:a", "libmp3lame", path)
    storage = Storage(path)
    async with serving(storage) as server:
        info = await probe(server.address)
    assert (info.container, info.audio_codec) == ("avi", "mp3")
    assert info.duration == pytest.approx(20, abs=0.2)
    assert len(storage.requests) <= 3


async def test_sound_that_comes_late_in_a_transport_stream_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    steady = ["-b:v", "8M", "-minrate", "8M", "-maxrate", "8M", "-bufsize", "8M", "-nal-hrd", "cbr"]
    late = ["-itsoffset", "8", *corpus.tone(2)]
    corpus.ffmpeg(*corpus.picture(10), *late, *corpus.H264, *steady, *corpus.AAC, path)
    assert path.stat().st_size > 8_000_000, "the sound begins beyond the first look"
    async with serving(Storage(path)) as server:
        info = await probe(server.address)
    assert (info.audio_codec, info.audio_channels) == ("aac", 1)
