"""The same for what is posted from the pages of projects and organizations."""

from tests.flows.replays import HOOK, Sending, Stage, scene
from tests.orgs import acting

FORM = {"url": str(HOOK["url"]), "events": "video.*", "description": ""}


@scene("POST /projects", "POST /orgs")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).browser, data={"name": "Film"})


def _of_places(kind: str, name: str) -> None:
    base = f"POST /{kind}/{{{name}}}"

    @scene(f"{base}/settings")
    async def _(stage: Stage) -> Sending:
        owner, _member, _path, ids = await stage.place(kind)
        return Sending(owner.browser, ids, data={"name": "Another"})

    @scene(f"{base}/delete")
    async def _(stage: Stage) -> Sending:
        owner, _member, _path, ids = await stage.place(kind)
        return Sending(owner.browser, ids)

    @scene(f"{base}/members/{{user_id}}", f"{base}/members/{{user_id}}/remove")
    async def _(stage: Stage) -> Sending:
        owner, member, _path, ids = await stage.place(kind)
        return Sending(owner.browser, {**ids, "user_id": member.id}, data={"role": "editor"})

    @scene(f"{base}/invitations")
    async def _(stage: Stage) -> Sending:
        owner, _member, _path, ids = await stage.place(kind)
        return Sending(owner.browser, ids, data={"role": "viewer", "expires_in_days": "7"})

    @scene(f"{base}/invitations/{{invitation_id}}/revoke")
    async def _(stage: Stage) -> Sending:
        owner, _member, path, ids = await stage.place(kind)
        made = await acting.made(await owner.client.post(f"{path}/invitations", json={"role": "viewer"}))
        return Sending(owner.browser, {**ids, "invitation_id": made["id"]})


_of_places("projects", "project_id")
_of_places("orgs", "organization_id")


@scene("POST /invitations/{token}")
async def _(stage: Stage) -> Sending:
    owner, _member, path, _ids = await stage.place("projects")
    made = await acting.made(await owner.client.post(f"{path}/invitations", json={"role": "viewer"}))
    return Sending((await stage.person()).browser, {"token": made["token"]})


@scene("POST /projects/{project_id}/keys")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    ids = {"project_id": await acting.personal(person)}
    return Sending(person.browser, ids, data={"name": "Robot", "scopes": "read"})


@scene("POST /projects/{project_id}/keys/{key_id}/rotate", "POST /projects/{project_id}/keys/{key_id}/revoke")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    project_id = await acting.personal(person)
    made = await acting.key(person, project_id)
    return Sending(person.browser, {"project_id": project_id, "key_id": made["id"]}, data={"overlap_seconds": "60"})


@scene("POST /projects/{project_id}/webhooks")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.browser, {"project_id": await acting.personal(person)}, data=FORM)


@scene("POST /projects/{project_id}/webhooks/{webhook_id}")
async def _(stage: Stage) -> Sending:
    person, ids = await stage.hook()
    return Sending(person.browser, ids, data={**FORM, "description": "Another"})


@scene("POST /projects/{project_id}/webhooks/{webhook_id}/on")
async def _(stage: Stage) -> Sending:
    person, ids = await stage.hook()
    path = "/api/projects/{project_id}/webhooks/{webhook_id}".format(**ids)
    await acting.made(await person.client.patch(path, json={"enabled": False}), 200)
    return Sending(person.browser, ids)


@scene(
    "POST /projects/{project_id}/webhooks/{webhook_id}/off",
    "POST /projects/{project_id}/webhooks/{webhook_id}/delete",
    "POST /projects/{project_id}/webhooks/{webhook_id}/test",
)
async def _(stage: Stage) -> Sending:
    person, ids = await stage.hook()
    return Sending(person.browser, ids)


@scene("POST /projects/{project_id}/webhooks/{webhook_id}/secret")
async def _(stage: Stage) -> Sending:
    person, ids = await stage.hook()
    return Sending(person.browser, ids, data={"overlap_seconds": "86400"})


@scene("POST /projects/{project_id}/deliveries/{delivery_id}/redeliver")
async def _(stage: Stage) -> Sending:
    person, ids = await stage.delivery()
    return Sending(person.browser, ids)


@scene("POST /videos/{video_id}/move")
async def _(stage: Stage) -> Sending:
    person, video_id = await stage.video()
    return Sending(person.browser, {"video_id": video_id}, data={"project_id": await acting.project(person)})
