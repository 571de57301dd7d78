"""A server with `/v1/videos`, pictures and speech, in the dialects of vLLM-Omni, SGLang and OpenRouter."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tests.generation.providers.wire import Asked, Reset, Server, chunk, head, said, whole

KEY = "sk-of-the-operator"
#: How each server names its states, while it waits, works and is done.
_STATES = {
    "form": ("queued", "in_progress", "completed"),
    "json": ("queued", "queued", "completed"),
    "openrouter": ("pending", "in_progress", "completed"),
}


@dataclass
class VideosServer(Server):
    """What it does is told by its fields, from the outside, at any time."""

    dialect: str = "form"
    video: bytes = b""
    picture: bytes = b""
    sound: bytes = b""
    #: What it says of its progress, one after the other; after the last it is done. While `held` it stays at the last.
    steps: list[object] = field(default_factory=lambda: [0, 0, 35, 70])
    held: bool = False
    #: Answers to the next POSTs and GETs of jobs, instead of the usual ones; None resets the connection.
    refuse: list[bytes | None] = field(default_factory=list)
    trouble: list[bytes | None] = field(default_factory=list)
    #: How the job ends instead of well: its state and what is told of it.
    ends: tuple[str, object] | None = None
    #: The content, pictures and speech break off after so many bytes.
    cut_after: int | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    silent: bool = False

    @property
    def base(self) -> str:
        return f"{self.url}/v1"

    @property
    def posts(self) -> int:
        return self.count("POST")

    async def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            yield said(401, {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}})
            return
        if asked.method == "POST":
            async for piece in self._create(asked):
                yield piece
        elif found := re.fullmatch(r"/v1/videos/([^/]+)(/content)?(\?.*)?", asked.path):
            job = found[1]
            if job not in self.jobs:
                yield said(404, {"detail": f"Video with id {job} not found"})
            elif asked.method == "DELETE":
                self.deleted.append(job)
                yield said(200, {"id": job, "deleted": True, "object": "video.deleted"})
            elif found[2]:
                async for piece in self._bytes(self.video, "video/mp4"):
                    yield piece
            else:
                yield self._told(job)
        else:
            yield said(404, {"detail": "Not Found"})

    async def _create(self, asked: Asked) -> AsyncIterator[bytes]:
        if self.refuse:
            if (answer := self.refuse.pop(0)) is None:
                raise Reset
            yield answer
            return
        if self.silent:
            await asyncio.sleep(3600)
        if asked.path == "/v1/images/generations":
            body = asked.json
            assert re.fullmatch(r"\d+x\d+", body["size"])
            data = {"b64_json": base64.b64encode(self.picture).decode(), "url": None, "revised_prompt": None}
            answer = said(200, {"created": 1701234567, "data": [data]})
            yield answer if self.cut_after is None else answer[: self.cut_after]
        elif asked.path == "/v1/audio/speech":
            assert asked.json["input"]
            async for piece in self._bytes(self.sound, "audio/mpeg"):
                yield piece
        elif (wrong := self._wrong(asked)) is not None:
            yield said(
                422, {"detail": [{"loc": ["body", wrong], "msg": f"{wrong}: Field required", "type": "missing"}]}
            )
        else:
            job = f"video_gen_{len(self.jobs):04}"
            self.jobs[job] = 0
            status = 202 if self.dialect == "openrouter" else 200
            yield said(status, self._record(job, _STATES[self.dialect][0], 0))

    def _wrong(self, asked: Asked) -> str | None:
        """What this server misses, or does not take, in a request for a video."""
        as_form = asked.headers["content-type"].startswith("multipart/form-data")
        if self.dialect == "form":
            fields: dict[str, Any] = asked.form if as_form else {}
            return next((name for name in ("prompt", "size") if name not in fields), None)
        if self.dialect == "json":
            fields = asked.form if as_form else asked.json
            if as_form and "input_reference" not in fields:
                return "input_reference"
            return next((name for name in ("prompt", "size") if name not in fields), None)
        fields = asked.json
        if not set(fields) <= {"model", "prompt", "duration", "aspect_ratio", "resolution", "seed", "frame_images"}:
            return "unknown"
        return next((name for name in ("model", "prompt") if name not in fields), None)

    def _told(self, job: str) -> bytes:
        if self.trouble:
            if (answer := self.trouble.pop(0)) is None:
                raise Reset
            return answer
        at = self.jobs[job]
        waiting, working, done = _STATES[self.dialect]
        if at >= len(self.steps) and not self.held:
            state, error = (done, None) if self.ends is None else self.ends
            return said(200, self._record(job, state, 100 if error is None else 0, error))
        progress = self.steps[min(at, len(self.steps) - 1)]
        self.jobs[job] = at + 1
        return said(200, self._record(job, working if progress else waiting, progress))

    def _record(self, job: str, state: str, progress: object, error: object = None) -> dict[str, Any]:
        if self.dialect == "openrouter":
            record: dict[str, Any] = {
                "id": job,
                "polling_url": f"/v1/videos/{job}",
                "status": state,
                "generation_id": f"gen-{job}",
            }
            if state == "completed":
                record["unsigned_urls"] = [f"{self.base}/videos/{job}/content?index=0"]
                record["usage"] = {"cost": 0.5, "is_byok": False}
            return record | ({"error": error} if error else {})
        return {
            "id": job,
            "object": "video",
            "model": "Wan-AI/Wan2.2-T2V-A14B-Diffusers",
            "status": state,
            "progress": progress if self.dialect == "form" else 0,
            "created_at": 1701234567,
            "size": "720x1280",
            "seconds": "4",
            "error": error,
        }

    async def _bytes(self, data: bytes, kind: str) -> AsyncIterator[bytes]:
        if self.cut_after is not None:
            yield whole(200, data, Content_Type=kind)[: self.cut_after]
            return
        yield head(200, Content_Type=kind, Transfer_Encoding="chunked")
        for start in range(0, len(data), 4096):
            yield chunk(data[start : start + 4096])
            await asyncio.sleep(0)
        yield chunk(b"")
