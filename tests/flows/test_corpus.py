"""Every real clip goes through the whole stack: uploaded, processed by the worker's code, described right."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Person
from tests.videos import media_corpus as corpus
from tests.videos.sending import RunJobs, get, send

pytestmark = [
    pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed"),
    pytest.mark.skipif(not corpus.index_rows(), reason="the folder of real clips is not here (MEDIA_CORPUS)"),
]

TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/x-m4v",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}


@pytest.mark.parametrize("row", corpus.index_rows(), ids=lambda row: str(row["file"]))
async def test_a_clip_is_described_as_its_index_says(user: Person, run_jobs: RunJobs, row: dict[str, str]) -> None:
    expected = corpus.expected(row)
    path: Path = expected.path
    sent = await send(user, path.name, path.read_bytes(), TYPES[path.suffix])
    await run_jobs()
    video = (await user.client.get(f"/api/videos/{sent['id']}")).json()
    if expected.code is not None:
        assert (video["status"], video["error"]["code"]) == ("failed", expected.code)
        return
    assert (video["status"], video["error"]) == ("completed", None)
    assert (video["width"], video["height"]) == (expected.width, expected.height)
    assert video["rotation"] == expected.rotation
    assert abs(video["duration"] - expected.duration) <= 0.1
    assert (video["video_codec"], video["audio_codec"]) == (expected.video_codec, expected.audio_codec)
    assert video["container"] in expected.containers
    poster = await get(video["poster_url"])
    assert (poster.status_code, poster.content[:3]) == (200, b"\xff\xd8\xff")
    playback = (await user.client.get(f"/api/videos/{sent['id']}/playback-url")).json()
    middle = len(path.read_bytes()) // 2
    part = await get(playback["url"], Range=f"bytes={middle}-{middle + 99}")
    assert (part.status_code, part.content) == (206, path.read_bytes()[middle : middle + 100])
