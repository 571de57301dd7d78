"""How tests bring videos in: through the door as clients do, or as rows where only rows matter."""

import asyncio
import http.client
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.core.storage import storage
from backend.jobs.models import Job
from backend.orgs.models import Project
from backend.videos.models import Video, VideoStatus
from tests.conftest import Person

RunJobs = Callable[[], Awaitable[int]]

#: Not a video: for tests that do not look inside.
BYTES = b"not really a film" * 20
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def put(url: str, data: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    """PUT straight to the storage, over the network, as a browser does."""
    async with httpx.AsyncClient() as door:
        return await door.put(url, content=data, headers=headers)


async def begin_put(url: str, data: bytes, headers: dict[str, str] | None = None) -> http.client.HTTPConnection:
    """A PUT of which only half is sent: a slow line, or one that was cut."""
    to = urlsplit(url)
    sender = http.client.HTTPConnection(to.netloc, timeout=30)
    sender.putrequest("PUT", f"{to.path}?{to.query}")
    for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
        sender.putheader(name, value)
    sender.endheaders()
    sender.send(data[: len(data) // 2])
    await asyncio.sleep(0.2)  # for the server to have read it
    return sender


async def end_put(sender: http.client.HTTPConnection, data: bytes) -> int:
    """Send the other half; answers the status."""

    def send() -> int:
        try:
            sender.send(data[len(data) // 2 :])
            return sender.getresponse().status
        finally:
            sender.close()

    return await asyncio.to_thread(send)


async def get(url: str, **headers: str) -> httpx.Response:
    """GET straight from the storage."""
    async with httpx.AsyncClient() as door:
        return await door.get(url, headers=headers)


async def presign(user: Person, name: str = "clip.mp4", data: bytes = BYTES, kind: str = "video/mp4") -> dict[str, Any]:
    answer = await user.client.post(
        "/api/upload/presigned-url", json={"filename": name, "size": len(data), "content_type": kind}
    )
    assert answer.status_code == 200, answer.text
    place: dict[str, Any] = answer.json()
    return place


async def send(
    user: Person, name: str = "clip.mp4", data: bytes = BYTES, kind: str = "video/mp4", **texts: str
) -> dict[str, Any]:
    """Presign, PUT and confirm; the answer is the video."""
    place = await presign(user, name, data, kind)
    stored = await put(place["upload_url"], data, place["headers"])
    assert stored.status_code == 200, stored.text
    answer = await user.client.post("/api/videos", json={"video_id": place["video_id"], **texts})
    assert answer.status_code == 201, answer.text
    video: dict[str, Any] = answer.json()
    return video


async def adoptable(user: Person, name: str = "clip.mp4", data: bytes | None = BYTES) -> dict[str, str]:
    """Send a file without an account; what is needed to adopt it."""
    answer = await user.client.post("/upload", json={"filename": name})
    assert answer.status_code == 200, answer.text
    if data is not None:
        assert (await put(answer.json()["upload_url"], data, {"Content-Type": "video/mp4"})).status_code == 200
    return {"s3_key": answer.json()["s3_path"], "claim": answer.json()["claim"]}


def code(answer: httpx.Response) -> str:
    """The error code of an answer in the contract's shape."""
    error = answer.json()["error"]
    assert set(error) >= {"code", "message", "request_id"}, error
    return str(error["code"])


async def project_of(user: Person) -> uuid.UUID:
    async with transaction() as session:
        project_id = await session.scalar(
            select(Project.id).where(Project.owner_id == uuid.UUID(user.id), Project.personal)
        )
    assert project_id is not None
    return project_id


async def add_row(user: Person, title: str = "Clip", **values: Any) -> str:
    """A video row without any object; answers its id."""
    project_id = await project_of(user)
    video = Video(
        **{
            "id": uuid.uuid4(),
            "project_id": project_id,
            "owner_id": uuid.UUID(user.id),
            "title": title,
            "description": "",
            "status": VideoStatus.COMPLETED,
            "filename": "clip.mp4",
            "content_type": "video/mp4",
            "size_bytes": 1000,
            "s3_key": f"videos/{user.id}/{uuid.uuid4()}/clip.mp4",
            "created_at": LONG_AGO,
            **values,
        }
    )
    async with transaction() as session:
        session.add(video)
    return str(video.id)


async def add_rows(user: Person, count: int, **values: Any) -> list[str]:
    """Many rows in one statement, each a minute newer than the one before; ids oldest first."""
    project_id = await project_of(user)
    ids = [uuid.uuid4() for _ in range(count)]
    async with transaction() as session:
        session.add_all(
            Video(
                **{
                    "id": row_id,
                    "project_id": project_id,
                    "owner_id": uuid.UUID(user.id),
                    "title": f"Clip {number}",
                    "status": VideoStatus.COMPLETED,
                    "filename": f"clip{number}.mp4",
                    "content_type": "video/mp4",
                    "size_bytes": 1000 + number % 7,
                    "duration": None if number % 5 == 0 else float(number % 11),
                    "s3_key": f"videos/{row_id}",
                    "created_at": LONG_AGO + timedelta(minutes=number // 3),
                    **values,
                }
            )
            for number, row_id in enumerate(ids)
        )
    return [str(row_id) for row_id in ids]


async def seen(user: Person, video: dict[str, Any]) -> dict[str, Any]:
    answer = await user.client.get(f"/api/videos/{video['id']}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def folder(user: Person, video: dict[str, Any]) -> list[str]:
    return await storage.list_keys(f"videos/{user.id}/{video['id']}/")


async def make_due(kind: str) -> None:
    """Let waiting jobs of a kind run now, whatever they wait for."""
    async with transaction() as session:
        await session.execute(update(Job).where(Job.kind == kind, Job.state == "queued").values(run_at=func.now()))
