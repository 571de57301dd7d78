"""The documented clients of the earlier designs, replayed with plain HTTP against real processes."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Live
from tests.videos import media_corpus as corpus

pytestmark = [
    pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffmpeg and ffprobe are not installed"),
    pytest.mark.usefixtures("clean"),
]

PASSWORD = "a long enough secret"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "holiday.mp4"
    corpus.plain(path)
    return path


@pytest.fixture
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=30) as client:
        yield client


def sign_in(http: httpx.Client) -> dict[str, str]:
    """Register and log in, as a program; the headers to send from now on."""
    account = {"email": f"c{secrets.token_hex(6)}@example.org", "password": PASSWORD}
    assert http.post("/api/auth/register", json=account).status_code == 201
    answer = http.post("/api/auth/login", json=account)
    assert answer.status_code == 200
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def wait_until_done(http: httpx.Client, video_id: str, headers: dict[str, str]) -> dict[str, Any]:
    """Poll a video as LIBRARY's page did, until it is processed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        video: dict[str, Any] = http.get(f"/api/videos/{video_id}", headers=headers).json()
        if video["status"] in ("completed", "failed"):
            return video
        assert video["status"] == "processing"
        time.sleep(0.2)
    raise AssertionError("the video was not processed within a minute")


# --- UPLOAD-URL ------------------------------------------------------------------------------------------------------


def test_the_upload_url_client(http: httpx.Client, film: Path) -> None:
    health = http.get("/health").json()
    assert health["status"] == "healthy"
    assert abs((datetime.fromisoformat(health["timestamp"]) - datetime.now(UTC)).total_seconds()) < 60

    asked = http.post("/upload", json={"filename": film.name})
    assert asked.status_code == 200
    place = asked.json()
    assert {"upload_url", "s3_path", "expires_in", "expires_at"} <= set(place)
    assert place["expires_in"] == 1800
    assert place["s3_path"].startswith("upload/")
    assert place["s3_path"].endswith(".mp4")
    assert datetime.fromisoformat(place["expires_at"]) > datetime.now(UTC)

    # It sends a type of its own accord.
    stored = httpx.put(place["upload_url"], content=film.read_bytes(), headers={"Content-Type": "video/mp4"})
    assert stored.status_code == 200

    assert http.post("/upload", json={"filename": "no_extension"}).status_code == 422
    assert http.post("/upload", json={}).status_code == 422


def test_what_was_sent_without_an_account_becomes_a_video_of_the_one_who_adopts_it(
    http: httpx.Client, film: Path
) -> None:
    place = http.post("/upload", json={"filename": film.name}).json()
    httpx.put(place["upload_url"], content=film.read_bytes(), headers={"Content-Type": "video/mp4"})
    headers = sign_in(http)
    adopted = http.post("/api/videos", json={"s3_key": place["s3_path"], "claim": place["claim"]}, headers=headers)
    assert adopted.status_code == 201
    video = wait_until_done(http, adopted.json()["id"], headers)
    assert (video["status"], video["title"], video["width"]) == ("completed", "holiday", 320)


# --- LIBRARY ---------------------------------------------------------------------------------------------------------


def test_the_library_client(http: httpx.Client, film: Path) -> None:
    headers = sign_in(http)
    data = film.read_bytes()

    # Presign, send the bytes straight to the storage, confirm.
    asked = http.post(
        "/api/upload/presigned-url",
        json={"filename": film.name, "size": len(data), "content_type": "video/mp4"},
        headers=headers,
    )
    assert asked.status_code == 200
    place = asked.json()
    assert (place["method"], place["expires_in"]) == ("PUT", 900)
    early = http.get(f"/api/videos/{place['video_id']}", headers=headers)
    assert early.status_code == 404
    assert httpx.put(place["upload_url"], content=data, headers=place["headers"]).status_code == 200
    confirmed = http.post(
        "/api/videos",
        json={"video_id": place["video_id"], "title": "A day out", "description": "By the sea"},
        headers=headers,
    )
    assert confirmed.status_code == 201
    assert confirmed.json()["status"] == "processing"

    # Poll until the metadata is there.
    video = wait_until_done(http, place["video_id"], headers)
    assert video["status"] == "completed"
    assert (video["width"], video["height"], video["video_codec"]) == (320, 180, "h264")
    assert abs(video["duration"] - 2) < 0.1
    assert httpx.get(video["poster_url"]).headers["content-type"] == "image/jpeg"

    # Find it: search, filter, sort, page.
    for params in (
        {},
        {"q": "day"},
        {"status": "completed"},
        {"sort": "duration", "order": "desc"},
        {"sort": "title", "order": "asc", "page": "1", "limit": "10"},
    ):
        page = http.get("/api/videos", params=params, headers=headers).json()
        assert [row["id"] for row in page["videos"]] == [video["id"]], params
        assert (page["pagination"]["page"], page["pagination"]["total"]) == (1, 1)
        assert page["pagination"]["total_pages"] == 1
    assert http.get("/api/videos", params={"q": "night"}, headers=headers).json()["videos"] == []

    # Edit, play with seeking, download.
    edited = http.patch(f"/api/videos/{video['id']}", json={"title": "A day at the sea"}, headers=headers)
    assert (edited.status_code, edited.json()["title"]) == (200, "A day at the sea")
    playback = http.get(f"/api/videos/{video['id']}/playback-url", headers=headers).json()
    assert set(playback) == {"url", "content_type", "expires_in", "expires_at"}
    part = httpx.get(playback["url"], headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert httpx.get(playback["url"]).content == data

    # Delete: it and its objects are gone.
    assert http.delete(f"/api/videos/{video['id']}", headers=headers).status_code == 204
    assert http.get(f"/api/videos/{video['id']}", headers=headers).status_code == 404
    assert http.get("/api/videos", headers=headers).json()["pagination"]["total"] == 0
    deadline = time.monotonic() + 30
    while httpx.get(playback["url"]).status_code != 404 or httpx.get(video["poster_url"]).status_code != 404:
        assert time.monotonic() < deadline, "the objects are still there"
        time.sleep(0.2)


def test_the_library_client_watches_the_processing_live(http: httpx.Client, film: Path) -> None:
    headers = sign_in(http)
    data = film.read_bytes()
    place = http.post(
        "/api/upload/presigned-url",
        json={"filename": film.name, "size": len(data), "content_type": "video/mp4"},
        headers=headers,
    ).json()
    httpx.put(place["upload_url"], content=data, headers=place["headers"])
    video = http.post("/api/videos", json={"video_id": place["video_id"]}, headers=headers).json()
    events: list[tuple[str, dict[str, Any]]] = []
    with http.stream("GET", f"/api/jobs/{video['job_id']}/stream", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                events.append((name, json.loads(value)))
    assert [name for name, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    last, told = events[-1]
    assert last == "complete"
    assert (told["video_id"], told["video_url"]) == (video["id"], f"/videos/{video['id']}")
    progress = [told["progress"] for _, told in events]
    assert progress == sorted(progress)
    # A latecomer gets the end at once.
    late = http.get(f"/api/jobs/{video['job_id']}/stream", headers=headers)
    assert "event: complete" in late.text


def test_the_library_client_hears_what_is_wrong(http: httpx.Client, film: Path) -> None:
    headers = sign_in(http)
    good = {"filename": "a.mp4", "size": 10, "content_type": "video/mp4"}
    for change, status, code in (
        ({"size": 2048 * 1024 * 1024 + 1}, 413, "file_too_large"),
        ({"size": 0}, 422, "validation_failed"),
        ({"filename": "a.exe"}, 415, "unsupported_type"),
        ({"content_type": "video/webm"}, 415, "unsupported_type"),
    ):
        answer = http.post("/api/upload/presigned-url", json={**good, **change}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    place = http.post("/api/upload/presigned-url", json=good, headers=headers).json()
    assert httpx.put(place["upload_url"], content=b"eleven byte", headers=place["headers"]).status_code == 403
    answer = http.post("/api/videos", json={"video_id": place["video_id"]}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "upload_missing")
    assert httpx.put(place["upload_url"], content=b"ten bytes!", headers=place["headers"]).status_code == 200
    assert http.post("/api/videos", json={"video_id": place["video_id"]}, headers=headers).status_code == 201
    video = wait_until_done(http, place["video_id"], headers)
    assert (video["status"], video["error"]["code"]) == ("failed", "corrupt_media")
    again = http.post(f"/api/videos/{video['id']}/retry", headers=headers)
    assert (again.status_code, again.json()["status"]) == (200, "processing")
    assert wait_until_done(http, video["id"], headers)["status"] == "failed"
