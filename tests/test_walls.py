"""Every route that takes an id answers another's exactly as one that does not exist: 404, the same body."""

import re
import uuid

import pytest
from sqlalchemy import select

from backend.app import ROUTERS
from backend.core.db import transaction
from backend.videos.models import Upload
from tests.conftest import Person
from tests.videos.sending import send

BODIES: dict[tuple[str, str], dict[str, dict[str, object]]] = {
    ("PATCH", "/api/videos/{video_id}"): {"json": {"title": "mine now"}},
    ("PATCH", "/api/uploads/{upload_id}"): {"json": {"title": "mine now"}},
    ("POST", "/api/uploads/{upload_id}/parts"): {"json": {"part_numbers": [1]}},
    ("POST", "/videos/{video_id}/edit"): {"data": {"title": "mine now"}},
}


def routes_with_ids() -> list[tuple[str, str]]:
    found = {
        (method, path)
        for router in ROUTERS
        for route in router.routes
        if "{" in (path := getattr(route, "path", ""))
        for method in getattr(route, "methods", ())
    }
    return sorted(found - {(method, path) for method, path in found if method == "HEAD"})


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_anothers_id_is_answered_like_a_missing_one_on_every_route(
    user: Person, other: Person, accept: str
) -> None:
    video = await send(other)
    async with transaction() as session:
        upload = await session.scalar(select(Upload.id).where(Upload.video_id == uuid.UUID(video["id"])))
    page = (await other.browser.get("/settings")).text
    signed_in = re.search(r"/settings/sessions/([0-9a-f-]{36})/revoke", page)
    assert signed_in is not None
    theirs = {"video_id": video["id"], "job_id": video["job_id"], "upload_id": upload, "session_id": signed_in[1]}
    theirs["rung"] = "360p"
    walked = routes_with_ids()
    assert len(walked) > 25
    for method, path in walked:
        names = re.findall(r"{(\w+)}", path)
        assert set(names) <= theirs.keys(), f"say what {path} is about"
        answers = []
        for ids in (theirs, {name: uuid.uuid4() for name in theirs}):
            answer = await user.browser.request(
                method,
                path.format(**ids),
                headers={"Accept": accept, "X-Request-Id": "the-same-for-both"},
                **BODIES.get((method, path), {}),  # type: ignore[arg-type]
            )
            answers.append((answer.status_code, answer.text.replace(str(ids[names[0]]), "ID")))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 404, (method, path)
    untouched = await other.client.get(f"/api/videos/{video['id']}")
    assert (untouched.status_code, untouched.json()["title"]) == (200, video["title"])
