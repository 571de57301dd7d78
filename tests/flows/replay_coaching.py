"""One good request for every unsafe route of practice sessions."""

import uuid
from typing import Any

from tests.coaching.coaches import API, initiate, new_session, put
from tests.coaching.found import add_found
from tests.conftest import Person
from tests.flows.replays import Sending, Stage, scene
from tests.videos.sending import BYTES, add_row

NETS = {"title": "Nets"}


async def session_of(stage: Stage) -> tuple[Person, dict[str, Any]]:
    person = await stage.person()
    return person, {"session_id": (await new_session(person))["id"]}


async def analysis_of(stage: Stage, *, state: str = "queued") -> tuple[Person, dict[str, Any]]:
    """Of a video that is there; its job is in this state."""
    person, ids = await session_of(stage)
    video = {"video_id": await add_row(person)}
    answer = await person.client.post(f"{API}/sessions/{ids['session_id']}/analysis-jobs", json=video)
    assert answer.status_code == 201, answer.text
    made = answer.json()["id"]
    if state == "cancelled":
        assert (await person.client.post(f"{API}/analysis-jobs/{made}/cancel")).status_code == 200
    return person, {**ids, "analysis_id": made, "job_id": made}


@scene("POST /api/coaches/plus/sessions")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).client, json=NETS)


@scene("POST /sessions")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).browser, data=NETS)


@scene("PATCH /api/coaches/plus/sessions/{session_id}")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.client, ids, json={"title": "Nets 2"})


@scene("POST /sessions/{session_id}")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.browser, ids, data={"title": "Nets 2"})


@scene("DELETE /api/coaches/plus/sessions/{session_id}")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.client, ids)


@scene("POST /sessions/{session_id}/delete")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.browser, ids)


@scene("POST /api/coaches/plus/videos/upload/initiate")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.client, json=ids)


@scene("POST /api/coaches/plus/videos/upload/complete")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    place = await initiate(person, ids["session_id"])
    assert await put(place["presigned_url"], BYTES) == 200
    return Sending(person.client, json={"job_id": place["job_id"]})


@scene("POST /api/coaches/plus/sessions/{session_id}/analysis-jobs")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.client, ids, json={"video_id": await add_row(person)})


@scene("POST /sessions/{session_id}/analyses")
async def _(stage: Stage) -> Sending:
    person, ids = await session_of(stage)
    return Sending(person.browser, ids, data={"video_id": await add_row(person)})


@scene("POST /api/coaches/plus/analysis-jobs/{job_id}/cancel", "DELETE /api/coaches/plus/analysis-jobs/{job_id}")
async def _(stage: Stage) -> Sending:
    person, ids = await analysis_of(stage)
    return Sending(person.client, ids)


@scene("POST /api/coaches/plus/analysis-jobs/{job_id}/retry")
async def _(stage: Stage) -> Sending:
    person, ids = await analysis_of(stage, state="cancelled")
    return Sending(person.client, ids)


@scene("POST /sessions/{session_id}/analyses/{analysis_id}/{verb}")
async def _(stage: Stage) -> Sending:
    person, ids = await analysis_of(stage, state="cancelled")
    return Sending(person.browser, {**ids, "verb": "retry"})


@scene("PATCH /api/coaches/plus/analysis-jobs/{job_id}/phases")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    session = await new_session(person)
    project, practice, video = (
        uuid.UUID(each) for each in (session["project_id"], session["id"], await add_row(person))
    )
    made = await add_found(project_id=project, session_id=practice, video_id=video)
    return Sending(person.client, {"job_id": made}, json={"load": 1.2})
