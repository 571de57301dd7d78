"""One good request for every unsafe route, each with everything of its own that it needs."""

import uuid
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import func, select, update

from backend.accounts.models import LoginSession
from backend.config import settings
from backend.core.db import transaction
from backend.jobs.models import Job
from backend.videos.models import Video, VideoStatus
from tests.flows.replays import FAILED, HOOK, Sending, Stage, newcomer, scene
from tests.orgs import acting

# --- accounts --------------------------------------------------------------------------------------------------------


@scene("POST /api/auth/register", "POST /register")
async def _(stage: Stage) -> Sending:
    return Sending(stage.nobody, json=newcomer())


@scene("POST /api/auth/login", "POST /login")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(stage.nobody, data=None, json={"email": person.email, "password": person.password})


@scene("POST /api/auth/refresh")
async def _(stage: Stage) -> Sending:
    return Sending(stage.nobody, json={"refresh_token": (await stage.person()).refresh_token})


@scene("POST /api/auth/logout")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).client)


@scene("POST /logout", "POST /settings/sessions/revoke-others")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).browser)


@scene("POST /settings/profile")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).browser, data={"name": "Ada"})


@scene("POST /settings/password")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.browser, data={"current_password": person.password, "new_password": "another long enough"})


@scene("POST /settings/sessions/{session_id}/revoke")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    theirs = select(LoginSession.id).where(LoginSession.user_id == uuid.UUID(person.id))
    async with transaction() as session:
        found = await session.scalar(theirs.where(LoginSession.cookie_hash.is_not(None)))
    return Sending(person.browser, {"session_id": found})


# --- projects and organizations --------------------------------------------------------------------------------------


@scene("POST /api/projects", "POST /api/orgs")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).client, json={"name": "Film"})


def _of_places(kind: str, name: str) -> None:
    base = f"/api/{kind}/{{{name}}}"

    @scene(f"PATCH {base}")
    async def _(stage: Stage) -> Sending:
        owner, _member, _path, ids = await stage.place(kind)
        return Sending(owner.client, ids, json={"name": "Another"})

    @scene(f"DELETE {base}")
    async def _(stage: Stage) -> Sending:
        owner, _member, _path, ids = await stage.place(kind)
        return Sending(owner.client, ids)

    @scene(f"PATCH {base}/members/{{user_id}}")
    async def _(stage: Stage) -> Sending:
        owner, member, _path, ids = await stage.place(kind)
        return Sending(owner.client, {**ids, "user_id": member.id}, json={"role": "editor"})

    @scene(f"DELETE {base}/members/{{user_id}}")
    async def _(stage: Stage) -> Sending:
        owner, member, _path, ids = await stage.place(kind)
        return Sending(owner.client, {**ids, "user_id": member.id})

    @scene(f"POST {base}/invitations")
    async def _(stage: Stage) -> Sending:
        owner, _member, _path, ids = await stage.place(kind)
        return Sending(owner.client, ids, json={"role": "viewer"})

    @scene(f"DELETE {base}/invitations/{{invitation_id}}")
    async def _(stage: Stage) -> Sending:
        owner, _member, path, ids = await stage.place(kind)
        made = await acting.made(await owner.client.post(f"{path}/invitations", json={"role": "viewer"}))
        return Sending(owner.client, {**ids, "invitation_id": made["id"]})


_of_places("projects", "project_id")
_of_places("orgs", "organization_id")


@scene("POST /api/invitations/{token}/accept")
async def _(stage: Stage) -> Sending:
    owner, _member, path, _ids = await stage.place("projects")
    made = await acting.made(await owner.client.post(f"{path}/invitations", json={"role": "viewer"}))
    return Sending((await stage.person()).client, {"token": made["token"]})


@scene("POST /api/projects/{project_id}/api-keys")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(
        person.client, {"project_id": await acting.personal(person)}, json={"name": "Robot", "scopes": ["read"]}
    )


@scene(
    "POST /api/projects/{project_id}/api-keys/{key_id}/rotate", "DELETE /api/projects/{project_id}/api-keys/{key_id}"
)
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    project_id = await acting.personal(person)
    made = await acting.key(person, project_id)
    return Sending(person.client, {"project_id": project_id, "key_id": made["id"]})


# --- webhooks --------------------------------------------------------------------------------------------------------


@scene("POST /api/projects/{project_id}/webhooks")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.client, {"project_id": await acting.personal(person)}, json=HOOK)


@scene("PATCH /api/projects/{project_id}/webhooks/{webhook_id}")
async def _(stage: Stage) -> Sending:
    person, ids = await stage.hook()
    return Sending(person.client, ids, json={"description": "Another"})


@scene(
    "DELETE /api/projects/{project_id}/webhooks/{webhook_id}",
    "POST /api/projects/{project_id}/webhooks/{webhook_id}/secret",
    "POST /api/projects/{project_id}/webhooks/{webhook_id}/test",
)
async def _(stage: Stage) -> Sending:
    person, ids = await stage.hook()
    return Sending(person.client, ids)


@scene("POST /api/projects/{project_id}/deliveries/{delivery_id}/redeliver")
async def _(stage: Stage) -> Sending:
    person, ids = await stage.delivery()
    return Sending(person.client, ids)


# --- jobs ------------------------------------------------------------------------------------------------------------


@scene("POST /api/jobs/{job_id}/cancel")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.client, {"job_id": await stage.job(person)})


@scene("POST /jobs/{job_id}/cancel")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.browser, {"job_id": await stage.job(person)})


@scene("POST /api/jobs/{job_id}/retry")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.client, {"job_id": await stage.job(person, **FAILED)})


# --- uploads ---------------------------------------------------------------------------------------------------------


@scene("POST /upload")
async def _(stage: Stage) -> Sending:
    return Sending(stage.nobody, json={"filename": "a.mp4"})


@scene("POST /api/upload/presigned-url")
async def _(stage: Stage) -> Sending:
    wanted = {"filename": "a.mp4", "size": 1000, "content_type": "video/mp4"}
    return Sending((await stage.person()).client, json=wanted)


@scene("PATCH /api/uploads/{upload_id}")
async def _(stage: Stage) -> Sending:
    person, place = await stage.upload()
    return Sending(person.client, {"upload_id": place["upload_id"]}, json={"title": "Another"})


@scene("POST /api/uploads/{upload_id}/parts")
async def _(stage: Stage) -> Sending:
    person, place = await stage.upload(multipart=True)
    return Sending(person.client, {"upload_id": place["upload_id"]}, json={"part_numbers": [1]})


@scene("DELETE /api/uploads/{upload_id}")
async def _(stage: Stage) -> Sending:
    person, place = await stage.upload()
    return Sending(person.client, {"upload_id": place["upload_id"]})


@scene("POST /api/uploads/{upload_id}/complete")
async def _(stage: Stage) -> Sending:
    person, place = await stage.sent()
    return Sending(person.client, {"upload_id": place["upload_id"]})


@scene("POST /api/storage/events")
async def _(stage: Stage) -> Sending:
    _person, place = await stage.upload()
    record = {"s3": {"bucket": {"name": settings.s3_bucket}, "object": {"key": place["s3_key"]}}}
    token = settings.storage_events_token.get_secret_value()
    return Sending(stage.nobody, json={"Records": [record]}, headers={"Authorization": f"Bearer {token}"})


# --- videos ----------------------------------------------------------------------------------------------------------


@scene("POST /videos", "POST /api/videos")
async def _(stage: Stage) -> Sending:
    person, place = await stage.sent()
    return Sending(person.client, json={"video_id": place["video_id"]})


@scene("PATCH /api/videos/{video_id}")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    return Sending(person.client, {"video_id": video_id}, json={"title": "Another"})


@scene("DELETE /api/videos/{video_id}")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    return Sending(person.client, {"video_id": video_id})


@scene("POST /api/videos/{video_id}/move")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    return Sending(person.client, {"video_id": video_id}, json={"project_id": await acting.project(person)})


@scene("POST /api/videos/{video_id}/retry")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video(**_BROKEN)
    return Sending(person.client, {"video_id": video_id})


@scene("POST /videos/{video_id}/retry")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video(**_BROKEN)
    return Sending(person.browser, {"video_id": video_id})


@scene("POST /videos/{video_id}/edit")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    return Sending(person.browser, {"video_id": video_id}, data={"title": "Another", "description": ""})


@scene("POST /videos/{video_id}/delete")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    return Sending(person.browser, {"video_id": video_id})


@scene("POST /videos/{video_id}/restore")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    await person.browser.post(f"/videos/{video_id}/delete")
    async with transaction() as session:  # time enough, however slow the machine
        await session.execute(
            update(Job).where(Job.kind == "purge_video").values(run_at=func.now() + timedelta(hours=1))
        )
        await session.execute(update(Video).where(Video.id == uuid.UUID(video_id)).values(deleted_at=func.now()))
    return Sending(person.browser, {"video_id": video_id})


_BROKEN = {
    "status": VideoStatus.FAILED,
    "error_code": "corrupt_media",
    "error_message": "It broke.",
    "error_retryable": True,
}


# --- admins ----------------------------------------------------------------------------------------------------------


def _of_admins(method_and_path: Iterable[str], *, browser: bool) -> None:
    for route in method_and_path:
        verb = "resume" if route.endswith("resume") else "pause"

        async def made(stage: Stage, verb: str = verb) -> Sending:
            name = f"q{uuid.uuid4().hex[:8]}"
            await stage.job(await stage.person(), queue=name)
            if verb == "resume":
                await stage.admin.client.post(f"/api/admin/queues/{name}/pause")
            return Sending(stage.admin.browser if browser else stage.admin.client, {"name": name})

        scene(route)(made)


_of_admins([f"POST /api/admin/queues/{{name}}/{verb}" for verb in ("pause", "resume")], browser=False)
_of_admins([f"POST /admin/queues/{{name}}/{verb}" for verb in ("pause", "resume")], browser=True)


@scene("POST /api/admin/jobs/{job_id}/{action}")
async def _(stage: Stage) -> Sending:
    return Sending(stage.admin.client, {"job_id": await stage.job(await stage.person()), "action": "cancel"})


@scene("POST /admin/jobs/{job_id}/{action}")
async def _(stage: Stage) -> Sending:
    return Sending(stage.admin.browser, {"job_id": await stage.job(await stage.person()), "action": "cancel"})


@scene("POST /api/admin/jobs/bulk")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    ids = [str(await stage.job(person)) for _ in range(3)]
    return Sending(stage.admin.client, json={"action": "cancel", "ids": ids})


@scene("PATCH /api/admin/users/{user_id}")
async def _(stage: Stage) -> Sending:
    return Sending(stage.admin.client, {"user_id": (await stage.person()).id}, json={"roles": ["auditor"]})


@scene("PATCH /api/admin/orgs/{organization_id}")
async def _(stage: Stage) -> Sending:
    _owner, _member, _path, ids = await stage.place("orgs")
    return Sending(stage.admin.client, ids, json={"features": ["video_upload_enabled"]})


@scene("POST /api/admin/doctor", "POST /api/admin/doctor/browser", "POST /api/admin/storage/mend")
async def _(stage: Stage) -> Sending:
    await stage.examined()
    return Sending(stage.admin.client)


@scene("POST /admin/doctor/findings", "POST /admin/storage/findings")
async def _(stage: Stage) -> Sending:
    await stage.examined()
    return Sending(stage.admin.browser)


@scene("POST /admin/doctor/browser")
async def _(stage: Stage) -> Sending:
    errand = await acting.made(await stage.admin.client.post("/api/admin/doctor/browser"), 200)
    seen = {
        "claim": errand["claim"],
        "origin": "http://127.0.0.1:8000",
        "now_ms": 0,
        "put": {"state": "ok", "status": 200, "etag": True},
        "range_status": 206,
        "range_bytes": 5,
        "beats_ms": [0, 400, 800],
    }
    return Sending(stage.admin.browser, json=seen)
