"""Every clip goes through the whole stack: uploaded, processed, described right, and then it plays in Chromium.

Real clips where their folder is, and awkward ones that ffmpeg makes everywhere.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from backend.config import settings
from tests.conftest import Person
from tests.flows.browser import TYPES
from tests.videos import media_corpus as corpus
from tests.videos.sending import RunJobs, get, send

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

# A muted video plays without a gesture. It is loaded, played for a moment, and sought; what it says then is answered.
PLAY = """async ([address, seconds]) => {
  const video = Object.assign(document.createElement('video'), { muted: true, src: address });
  document.body.replaceChildren(video);
  await Promise.race([video.play(), new Promise((_, no) => setTimeout(() => no(Error('does not start')), 20000))]);
  const until = Date.now() + 10000;
  while (video.currentTime <= 0 && Date.now() < until) await new Promise((go) => setTimeout(go, 20));
  const moved = video.currentTime;
  video.pause();
  video.currentTime = seconds / 2;
  await new Promise((go) => { video.onseeked = go; setTimeout(go, 5000); });
  return { moved, at: video.currentTime, width: video.videoWidth, height: video.videoHeight,
           duration: video.duration, error: video.error?.message ?? null };
}"""


async def played(chromium: Browser, address: str, seconds: float) -> tuple[dict[str, Any], list[str]]:
    """What the element says, and the corners of what is seen."""
    page = await chromium.new_page()
    try:
        said: dict[str, Any] = await page.evaluate(PLAY, [address, seconds])
        shot = await page.locator("video").screenshot()
    finally:
        await page.close()
    return said, await corners_of(shot)


async def corners_of(picture: bytes) -> list[str]:
    """Whether it is rather red or blue above left, above right, below left, below right."""
    words = ["-f", "image2pipe", "-i", "-", "-vf", "scale=4:4:flags=area", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = await asyncio.to_thread(
        subprocess.run, ["ffmpeg", "-v", "error", *words], input=picture, check=True, stdout=subprocess.PIPE
    )
    pixels = [done.stdout[3 * at : 3 * at + 3] for at in (0, 3, 12, 15)]
    return ["red" if pixel[0] > pixel[2] else "blue" for pixel in pixels]


async def processed(user: Person, run_jobs: RunJobs, path: Path) -> dict[str, Any]:
    sent = await send(user, path.name, path.read_bytes(), TYPES[path.suffix])
    await run_jobs()
    video: dict[str, Any] = (await user.client.get(f"/api/videos/{sent['id']}")).json()
    return video


async def plays(chromium: Browser, user: Person, video: dict[str, Any]) -> list[str]:
    """Fails unless the video plays at its size and length; answers its four corners."""
    assert (video["status"], video["error"], video["playable"]) == ("completed", None, True)
    playback = (await user.client.get(f"/api/videos/{video['id']}/playback-url")).json()
    said, corners = await played(chromium, playback["url"], video["duration"])
    assert said["error"] is None
    assert said["moved"] > 0
    assert said["at"] == pytest.approx(video["duration"] / 2, abs=0.5)
    # New pictures have even sides.
    shrink = min(1, settings.rendition_max_height / min(video["width"], video["height"]))
    if video["rendition"] is None or video["rendition"]["kind"] == "remux":
        assert (said["width"], said["height"]) == (video["width"], video["height"])
    else:
        assert said["width"] == pytest.approx(video["width"] * shrink, abs=1)
        assert said["height"] == pytest.approx(video["height"] * shrink, abs=1)
    return corners


async def has_pictures(user: Person, video: dict[str, Any]) -> bytes:
    """Fails unless the poster has the video's shape, and the preview its tiles; answers the poster."""
    poster = await get(video["poster_url"])
    assert (poster.status_code, poster.headers["content-type"]) == (200, "image/jpeg")
    sheet = video["preview"]
    track = await user.client.get(f"/api/videos/{video['id']}/preview.vtt")
    assert track.headers["content-type"].startswith("text/vtt")
    cues = [line for line in track.text.splitlines() if "#xywh=" in line]
    assert len(cues) == sheet["count"]
    assert sheet["tile_width"] / sheet["tile_height"] == pytest.approx(video["width"] / video["height"], rel=0.05)
    picture = await get(cues[0].partition("#")[0])
    assert (picture.status_code, picture.content[:3]) == (200, b"\xff\xd8\xff")
    return poster.content


@pytest.mark.skipif(not corpus.index_rows(), reason="the folder of real clips is not here (MEDIA_CORPUS)")
@pytest.mark.parametrize("row", corpus.index_rows(), ids=lambda row: str(row["file"]))
async def test_a_real_clip_is_described_as_its_index_says_and_plays(
    user: Person, run_jobs: RunJobs, chromium: Browser, row: dict[str, str]
) -> None:
    expected = corpus.expected(row)
    path = expected.path
    video = await processed(user, run_jobs, path)
    if expected.code is not None:
        assert (video["status"], video["error"]["code"]) == ("failed", expected.code)
        return
    assert (video["width"], video["height"]) == (expected.width, expected.height)
    assert video["rotation"] == expected.rotation
    assert abs(video["duration"] - expected.duration) <= 0.1
    assert (video["video_codec"], video["audio_codec"]) == (expected.video_codec, expected.audio_codec)
    assert video["container"] in expected.containers
    await plays(chromium, user, video)
    await has_pictures(user, video)
    original = (await user.client.get(f"/api/videos/{video['id']}/playback-url?download=true")).json()
    middle = path.stat().st_size // 2
    part = await get(original["url"], Range=f"bytes={middle}-{middle + 99}")
    assert (part.status_code, part.content) == (206, path.read_bytes()[middle : middle + 100])


HEVC = ["-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", "-preset", "ultrafast"]
VP9 = ["-pix_fmt", "yuv420p", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"]
MADE: list[tuple[str, Callable[[Path], None], str | None]] = [
    ("plain.mp4", corpus.plain, None),
    ("oblong.mp4", corpus.wide_pixels, None),
    ("two_of_each.mp4", corpus.many_tracks, None),
    ("varying.mp4", corpus.variable_rate, None),
    ("fragments.mp4", corpus.fragmented, "remux"),
    ("plain.mkv", corpus.encoded(*corpus.H264, *corpus.AAC), "remux"),
    ("studio.mov", corpus.encoded(*corpus.H264, "-c:a", "pcm_s16le"), "remux"),
    ("vp9.mkv", corpus.encoded(*VP9, "-c:a", "aac"), "remux"),
    ("recorded.webm", corpus.untold_duration, "remux"),
    ("old.avi", corpus.encoded("-c:v", "mpeg4", "-c:a", "libmp3lame"), "transcode"),
    ("hdr.mp4", corpus.hdr10, "transcode"),
    ("deep.mp4", corpus.encoded(*HEVC, "-tag:v", "hvc1", *corpus.AAC), "transcode"),
    ("odd.mov", corpus.encoded("-vf", "scale=321:181", "-c:v", "prores_ks", "-c:a", "pcm_s24le"), "transcode"),
    ("surround.mkv", corpus.encoded("-c:v", "mpeg2video", "-c:a", "ac3", "-ac", "6"), "transcode"),
]


@pytest.mark.parametrize(("name", "maker", "kind"), MADE, ids=[name for name, _, _ in MADE])
async def test_a_made_clip_plays_as_it_is_or_by_the_cheapest_rendition(
    user: Person,
    run_jobs: RunJobs,
    chromium: Browser,
    name: str,
    maker: Callable[[Path], None],
    kind: str | None,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    maker(path)
    video = await processed(user, run_jobs, path)
    assert (video["rendition"] or {}).get("kind") == kind, video["not_playable_reason"]
    assert (video["not_playable_reason"] is None) is (kind is None)
    await plays(chromium, user, video)
    await has_pictures(user, video)


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
@pytest.mark.parametrize("clockwise", [90, 180, 270])
async def test_a_clip_that_was_filmed_turned_is_upright_everywhere(
    user: Person, run_jobs: RunJobs, chromium: Browser, clockwise: int, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / "turned.mov"
    corpus.two_colours_turned(path, clockwise)
    if suffix == ".mkv":  # as it is, it does not play
        corpus.ffmpeg("-noautorotate", "-i", path, "-c:v", "mpeg4", "-q:v", "2", tmp_path / "other.mov")
        path = tmp_path / "other.mov"
    video = await processed(user, run_jobs, path)
    assert video["rotation"] == clockwise
    corners = await plays(chromium, user, video)
    poster = await corners_of(await has_pictures(user, video))
    # Stored with red on the left. Clockwise it comes to lie above, on the right, below.
    upright = {90: "red red blue blue", 180: "blue red blue red", 270: "blue blue red red"}[clockwise]
    assert (corners, poster) == (upright.split(), upright.split())
