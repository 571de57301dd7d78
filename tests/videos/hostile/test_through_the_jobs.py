"""Some of the hostile files the whole way: uploaded, processed by the real jobs, shown; what is stored is looked at."""

import shutil
from pathlib import Path

import pytest

from backend.core.storage import storage
from tests.conftest import Person
from tests.videos.hostile.kit import TAKEN, Hostile, Kit, Listener, Watch
from tests.videos.hostile.test_hostile import FILES, LOUD
from tests.videos.sending import RunJobs, get, send

pytestmark = pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed")

MIME = {"mp4": "video/mp4", "mov": "video/quicktime", "mkv": "video/x-matroska", "avi": "video/x-msvideo"}
CHOSEN = {
    "hls-http.mp4",
    "concat-file.mov",
    "dref-file.mov",
    "linked-segments.mkv",
    "attachment.mkv",
    "half.mkv",
    "flipped-6.mkv",
    "flipped-11.avi",
    "transport-stream.mp4",
    "nested.mkv",
    "language.mkv",
    "maker.mov",
    "45-degrees.mp4",
    "10-hours-claimed.mkv",
    "none.avi",
    "index-to-one-place.avi",
    "a-leap.mkv",
    "compressed-bomb.mov",
    "changes-size.ts",
    "zip-behind.mkv",
}


def test_all_that_were_chosen_are_there() -> None:
    assert {bad.name for bad in FILES} >= CHOSEN


@pytest.mark.parametrize("bad", [bad for bad in FILES if bad.name in CHOSEN], ids=lambda bad: bad.name)
async def test_it_is_refused_or_shown_and_nothing_leaks(
    bad: Hostile,
    kit: Kit,
    listener: Listener,
    watch: Watch,
    crashes: list[str],
    user: Person,
    run_jobs: RunJobs,
    tmp_path: Path,
) -> None:
    data = bad.make(kit)
    name = bad.name if not bad.name.endswith(".ts") else bad.name.replace(".ts", ".mp4")
    watch.opened()
    calls = listener.calls
    sent = await send(user, name, data, MIME[name.rpartition(".")[2]])
    await run_jobs()
    answer = await user.client.get(f"/api/videos/{sent['id']}")
    video = answer.json()
    if video["status"] == "completed":
        assert TAKEN in bad.codes
        assert video["poster_url"]
        for fact in ("width", "height"):
            assert video[fact] == bad.facts.get(fact, video[fact])
        described = {key: value for key, value in video.items() if key not in ("title", "filename")}
        assert not [each for each in LOUD if each in repr(described)]
    else:
        assert video["status"] == "failed"
        assert video["error"]["code"] in bad.codes
        assert not [each for each in (*LOUD, "127.0.0.1", "/tmp") if each in repr(video["error"])]
    for key in await storage.list_keys(f"videos/{user.id}/{sent['id']}/"):
        stored = await get(await storage.presign_get(key, expires_seconds=60, internal=True))
        if stored.content != data:
            assert kit.token.encode() not in stored.content
            assert b"evil-9b2c" not in stored.content
    assert crashes == []
    assert (listener.calls, watch.opened()) == (calls, 0)
