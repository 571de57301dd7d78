"""Who coaches in these tests, and what they send."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update

from backend.accounts.models import User
from backend.core.db import transaction
from tests.conftest import Person

API = "/api/coaches/plus"


def short_clip(folder: Path, seconds: float = 0.4) -> bytes:
    """A film without anybody in it."""
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None
    path = folder / f"{uuid.uuid4().hex}.mp4"
    made = ["-f", "lavfi", "-i", f"testsrc2=s=160x120:r=10:d={seconds}", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    subprocess.run([ffmpeg, "-v", "error", *made, "-movflags", "+faststart", str(path)], check=True)
    return path.read_bytes()


async def give(person: Person, *, roles: list[str] | None = None, features: list[str] | None = None) -> None:
    """Roles and features, as an admin gives them."""
    values: dict[str, Any] = {}
    if roles is not None:
        values["roles"] = roles
    if features is not None:
        values["features"] = features
    async with transaction() as session:
        await session.execute(update(User).where(User.id == uuid.UUID(person.id)).values(values))


async def new_session(person: Person, **more: Any) -> dict[str, Any]:
    answer = await person.client.post(f"{API}/sessions", json={"title": "Nets", "player_ids": ["p1"], **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def initiate(person: Person, session_id: str, **more: Any) -> dict[str, Any]:
    answer = await person.client.post(f"{API}/videos/upload/initiate", json={"session_id": session_id, **more})
    assert answer.status_code == 201, answer.text
    place: dict[str, Any] = answer.json()
    return place


async def put(url: str, data: bytes, content_type: str | None = "video/mp4") -> int:
    async with httpx.AsyncClient() as client:
        headers = {"Content-Type": content_type} if content_type else {}
        return (await client.put(url, content=data, headers=headers)).status_code


async def complete(person: Person, job_id: str) -> httpx.Response:
    return await person.client.post(f"{API}/videos/upload/complete", json={"job_id": job_id})


async def analysis(person: Person, job_id: str) -> dict[str, Any]:
    answer = await person.client.get(f"{API}/analysis-jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def same_refusal(one: httpx.Response, other: httpx.Response) -> bool:
    """Equal but for the request's id."""

    def bare(answer: httpx.Response) -> str:
        body = answer.json()
        body["error"].pop("request_id")
        return json.dumps(body)

    return one.status_code == other.status_code and bare(one) == bare(other)
