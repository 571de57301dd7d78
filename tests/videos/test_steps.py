"""The steps of processing as a family of jobs: what depends on what, and what is done again after a failure."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.config import settings
from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.videos import media, renditions
from backend.videos.media_info import MediaError
from backend.videos.models import StoredObject, Video
from tests.conftest import Person
from tests.videos import media_corpus as corpus
from tests.videos.sending import RunJobs, get, send

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

BROKEN = MediaError("corrupt_media", "It does not work.")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A film that browsers do not play, and whose pictures they would."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    corpus.encoded(*corpus.H264, *corpus.AAC)(path)
    return path.read_bytes()


@pytest.fixture
def ladders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ladder_heights", [144, 180])


async def seen(user: Person, video: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await user.client.get(f"/api/videos/{video['id']}")).json()
    return body


async def send_foreign(user: Person, film: bytes) -> dict[str, Any]:
    return await send(user, "film.mkv", film, "video/x-matroska")


async def jobs_of(video: dict[str, Any]) -> dict[str, str]:
    """The state of each kind of job of a video, the newest of each."""
    async with transaction() as session:
        rows = await session.execute(
            select(Job.kind, Job.state).where(Job.video_id == video["id"]).order_by(Job.created_at)
        )
        return {row.kind: row.state for row in rows}


def failing(error: Exception = BROKEN) -> Callable[..., Any]:
    async def work(*_: object, **__: object) -> Any:
        raise error

    return work


async def keys_of(user: Person, video: dict[str, Any]) -> list[str]:
    listed = await storage.list_keys(f"videos/{user.id}/{video['id']}/")
    return sorted(re.sub(r"-?(?:[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32})", "", key.rpartition("/")[2]) for key in listed)


async def test_what_browsers_do_not_play_gets_a_rendition_and_its_preview(
    user: Person, run_jobs: RunJobs, foreign: bytes
) -> None:
    sent = await send_foreign(user, foreign)
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["playable"]) == ("completed", True)
    assert video["not_playable_reason"] == "Browsers do not play MKV files."
    assert video["rendition"]["kind"] == "remux"
    assert await keys_of(user, video) == [".mkv", "poster.jpg", "preview.jpg", "rendition.mp4"]
    playback = (await user.client.get(f"/api/videos/{video['id']}/playback-url")).json()
    assert playback["content_type"] == "video/mp4"
    played = await get(playback["url"])
    assert len(played.content) == video["rendition"]["size_bytes"]
    assert (played.headers["content-type"], played.content[4:8]) == ("video/mp4", b"ftyp")
    assert played.headers["content-disposition"].startswith('inline; filename="film.mp4"')
    original = (await user.client.get(f"/api/videos/{video['id']}/playback-url?download=true")).json()
    assert original["content_type"] == "video/x-matroska"
    saved = await get(original["url"])
    assert saved.content == foreign
    assert saved.headers["content-disposition"].startswith('attachment; filename="film.mkv"')


async def test_a_video_is_not_ready_before_what_plays_is(user: Person, run_jobs: RunJobs, foreign: bytes) -> None:
    from backend.jobs import running

    sent = await send_foreign(user, foreign)
    await running.run_next(worker="test", queues=["media"])
    await running.run_next(worker="test", queues=["media"])
    video = await seen(user, sent)
    assert (video["status"], video["playable"], video["phase"]) == ("processing", False, "poster")
    assert video["poster_url"] is not None, "it is shown as soon as it is there"
    assert video["duration"] is not None
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"


async def test_pictures_that_cannot_be_taken_as_they_are_are_made_anew(
    user: Person, run_jobs: RunJobs, foreign: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = renditions.render

    async def no_copies(source: str, dest: Path, info: Any, plan: renditions.Plan, **options: Any) -> Any:
        if plan.copy_video:
            raise BROKEN
        return await render(source, dest, info, plan, **options)

    monkeypatch.setattr(renditions, "render", no_copies)
    sent = await send_foreign(user, foreign)
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["rendition"]["kind"]) == ("completed", "transcode")
    assert await keys_of(user, video) == [".mkv", "poster.jpg", "preview.jpg", "rendition.mp4"]


async def test_a_film_with_damaged_pieces_is_healed(user: Person, run_jobs: RunJobs, tmp_path: Path) -> None:
    corpus.ffmpeg(*corpus.picture(4), *corpus.H264, tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    body = data.index(b"mdat") + 4
    half = body + (data.index(b"moov") - body) // 2
    data[half : half + 400] = b"\xff" * 400
    sent = await send(user, data=bytes(data))
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["playable"], video["rendition"]["kind"]) == ("completed", True, "transcode")
    assert "damaged in places" in video["not_playable_reason"]
    assert video["preview"] is not None


async def test_a_preview_that_cannot_be_made_spoils_nothing(
    user: Person, run_jobs: RunJobs, foreign: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.videos.tasks.preview", failing())
    sent = await send_foreign(user, foreign)
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["error"], video["preview"]) == ("completed", None, None)
    assert (await user.client.get(f"/api/videos/{video['id']}/preview.vtt")).status_code == 404


async def test_a_required_step_that_fails_fails_the_video_and_is_all_that_is_tried_again(
    user: Person, run_jobs: RunJobs, foreign: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await send_foreign(user, foreign)
    with monkeypatch.context() as broken:
        broken.setattr(renditions, "render", failing())
        await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["error"]["code"]) == ("failed", "corrupt_media")
    assert await jobs_of(video) == {
        "process_video": "completed",
        "make_poster": "completed",
        "make_rendition": "failed",
    }
    monkeypatch.setattr(media, "probe", failing())
    monkeypatch.setattr(media, "poster", failing())
    again = await user.client.post(f"/api/videos/{video['id']}/retry")
    assert (again.status_code, again.json()["status"], again.json()["error"]) == (200, "processing", None)
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"


async def test_two_steps_that_failed_are_both_tried_again(
    user: Person, run_jobs: RunJobs, foreign: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = await send_foreign(user, foreign)
    with monkeypatch.context() as broken:
        broken.setattr(renditions, "render", failing())
        broken.setattr(media, "poster", failing())
        await run_jobs()
    assert (await seen(user, sent))["status"] == "failed"
    assert (await user.client.post(f"/api/videos/{sent['id']}/retry")).status_code == 200
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"


async def test_cancelling_the_first_job_cancels_the_steps_it_started(
    user: Person, run_jobs: RunJobs, foreign: bytes
) -> None:
    from backend.jobs import running

    sent = await send_foreign(user, foreign)
    await running.run_next(worker="test", queues=["media"])
    answer = await user.client.post(f"/api/jobs/{sent['job_id']}/cancel")
    assert answer.status_code == 200
    assert await jobs_of(sent) == {
        "process_video": "completed",
        "make_poster": "cancelled",
        "make_rendition": "cancelled",
    }
    assert await run_jobs() == 0
    video = await seen(user, sent)
    assert (video["status"], video["error"]["code"]) == ("failed", "cancelled")
    assert (await user.client.post(f"/api/videos/{sent['id']}/retry")).status_code == 200
    await run_jobs()
    video = await seen(user, sent)
    assert (video["status"], video["error"]) == ("completed", None)
    assert video["job_id"] != sent["job_id"], "what was cancelled is processed anew"


async def test_what_an_attempt_that_was_given_up_has_stored_is_removed_by_the_next(
    user: Person, run_jobs: RunJobs, foreign: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = storage.put_file

    async def stored_but_not_told(key: str, path: Path, **options: Any) -> None:
        await put_file(key, path, **options)
        if "rendition" in key:
            raise StorageUnavailable

    sent = await send_foreign(user, foreign)
    with monkeypatch.context() as broken:
        broken.setattr(storage, "put_file", stored_but_not_told)
        await run_jobs()
    assert "rendition.mp4" in await keys_of(user, sent)
    async with transaction() as session:
        await session.execute(update(Job).where(Job.state == "queued").values(run_at=Job.created_at))
    await run_jobs()
    assert (await seen(user, sent))["status"] == "completed"
    async with transaction() as session:
        rows = (await session.execute(select(StoredObject.key, StoredObject.buried_at))).all()
    kept = [row.buried_at is None for row in rows if "rendition" in row.key]
    assert (kept.count(True), False in kept) == (1, True)  # however often it was tried meanwhile


async def test_deleting_removes_all_that_was_made(
    user: Person, run_jobs: RunJobs, foreign: bytes, ladders: None
) -> None:
    sent = await send_foreign(user, foreign)
    await run_jobs()
    made = await keys_of(user, sent)
    assert made == [".mkv", "ladder-144p.mp4", "ladder-180p.mp4", "poster.jpg", "preview.jpg", "rendition.mp4"]
    await user.client.delete(f"/api/videos/{sent['id']}")
    await run_jobs()
    assert await keys_of(user, sent) == []


async def test_a_ladder_is_streamed_by_signed_ranges(
    user: Person, other: Person, run_jobs: RunJobs, foreign: bytes, ladders: None, tmp_path: Path
) -> None:
    sent = await send_foreign(user, foreign)
    base = f"/api/videos/{sent['id']}/hls"
    assert (await user.client.get(f"{base}/master.m3u8")).status_code == 404
    await run_jobs()
    assert (await seen(user, sent))["has_ladder"] is True
    master = await user.client.get(f"{base}/master.m3u8")
    assert master.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert master.text.count("#EXT-X-STREAM-INF") == 2
    rung = await user.client.get(f"{base}/180p.m3u8")
    assert (rung.status_code, rung.headers["cache-control"]) == (200, "no-store")
    [header] = re.findall(r'MAP:URI="([^"]+)",BYTERANGE="(\d+)@0"', rung.text)
    [(size, at), *_] = re.findall(r"#EXT-X-BYTERANGE:(\d+)@(\d+)", rung.text)
    start = await get(header[0], Range=f"bytes=0-{int(header[1]) - 1}")
    piece = await get(header[0], Range=f"bytes={at}-{int(at) + int(size) - 1}")
    assert (start.status_code, piece.status_code) == (206, 206)
    (tmp_path / "piece.mp4").write_bytes(start.content + piece.content)
    words = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "piece.mp4"), "-f", "null", "-"]
    done = await asyncio.to_thread(subprocess.run, words, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (await user.client.get(f"{base}/1080p.m3u8")).status_code == 404
    for address in ("hls/master.m3u8", "hls/180p.m3u8", "preview.vtt"):
        assert (await other.client.get(f"/api/videos/{sent['id']}/{address}")).status_code == 404


async def test_a_video_hidden_while_it_is_converted_is_complete_when_it_is_restored(
    user: Person, run_jobs: RunJobs, foreign: bytes
) -> None:
    sent = await send_foreign(user, foreign)
    await user.browser.post(f"/videos/{sent['id']}/delete")
    await run_jobs()
    await user.browser.post(f"/videos/{sent['id']}/restore")
    video = await seen(user, sent)
    assert (video["status"], video["playable"]) == ("completed", True)
    async with transaction() as session:
        assert await session.scalar(select(Video.rendition_key)) is not None


async def test_a_page_says_that_it_is_stopping_and_then_how_it_ended(
    user: Person, run_jobs: RunJobs, foreign: bytes
) -> None:
    from backend.jobs import running

    sent = await send_foreign(user, foreign)
    await running.run_next(worker="test", queues=["media"])
    page = await user.browser.get("/dashboard/now")
    assert f"/jobs/{sent['job_id']}/cancel" in page.text
    assert "Waiting for a worker" in page.text
    answer = await user.browser.post(f"/jobs/{sent['job_id']}/cancel")
    assert "Stopping" in answer.text
    assert "Processing was cancelled" in (await user.browser.get(f"/videos/{sent['id']}")).text


async def test_the_history_tells_each_step(user: Person, run_jobs: RunJobs, foreign: bytes) -> None:
    sent = await send_foreign(user, foreign)
    await run_jobs()
    page = (await user.browser.get(f"/videos/{sent['id']}")).text
    told = ["Uploaded", "Metadata read", "Converted for browsers", "Preview made"]
    assert [each for each in told if each in page] == told
    assert page.index("Metadata read") < page.index("Converted for browsers") < page.index("Preview made")
