"""What tests of broken rules share: two people, and what they rightly sent."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.conftest import Person
from tests.videos.sending import presign, put

MIB = 1024 * 1024
SMALL = b"a film of its own" * 20
OTHER = SMALL[::-1]
LARGE = bytes(range(256)) * (10 * MIB // 256) + b"the end"


@dataclass
class Case:
    """Two people, and what was rightly sent, by the id of the video that may come of it."""

    user: Person
    other: Person
    sent: dict[str, bytes] = field(default_factory=dict)

    async def single(self, data: bytes = SMALL) -> dict[str, Any]:
        place = await presign(self.user, data=data)
        self.sent[place["video_id"]] = data
        return place

    async def filled(self) -> dict[str, Any]:
        place = await self.single()
        assert (await put(place["upload_url"], SMALL, place["headers"])).status_code == 200
        return place

    async def large(self, data: bytes = LARGE) -> dict[str, Any]:
        body = {"filename": "long.mp4", "size": len(data), "content_type": "video/mp4", "multipart": True}
        answer = await self.user.client.post("/api/upload/presigned-url", json=body)
        assert answer.status_code == 200, answer.text
        place: dict[str, Any] = answer.json()
        self.sent[place["video_id"]] = data
        return place

    async def sign(self, place: dict[str, Any], *numbers: Any, by: Person | None = None) -> httpx.Response:
        path = f"/api/uploads/{place['upload_id']}/parts"
        return await (by or self.user).client.post(path, json={"part_numbers": list(numbers)})

    async def url(self, place: dict[str, Any], number: int) -> str:
        return str((await self.sign(place, number)).json()["parts"][0]["url"])

    async def fill(self, place: dict[str, Any], *numbers: int) -> None:
        for number in numbers or (1, 2, 3):
            part = LARGE[(number - 1) * 5 * MIB : number * 5 * MIB]
            assert (await put(await self.url(place, number), part)).status_code == 200

    async def confirm(self, place: dict[str, Any], by: Person | None = None) -> httpx.Response:
        return await (by or self.user).client.post("/api/videos", json={"video_id": place["video_id"]})

    async def complete(self, place: dict[str, Any], by: Person | None = None) -> httpx.Response:
        return await (by or self.user).client.post(f"/api/uploads/{place['upload_id']}/complete")

    async def abort(self, place: dict[str, Any], by: Person | None = None) -> httpx.Response:
        return await (by or self.user).client.delete(f"/api/uploads/{place['upload_id']}")

    async def adopted(self, data: bytes = SMALL) -> tuple[dict[str, str], str]:
        """Sent without an account: what adopts it, and the address that still works."""
        answer = (await self.user.client.post("/upload", json={"filename": "clip.mp4"})).json()
        assert (await put(answer["upload_url"], data)).status_code == 200
        return {"s3_key": answer["s3_path"], "claim": answer["claim"]}, answer["upload_url"]
