"""The same for what is posted from the composer, the gallery and the page of a project's CMS."""

from tests.flows.replay_generations import WISH, _started
from tests.flows.replay_tasks import _CMS, _with_cms
from tests.flows.replays import FAILED, Sending, Stage, scene
from tests.orgs import acting


@scene("POST /generate")
async def _(stage: Stage) -> Sending:
    return Sending((await stage.person()).browser, data=WISH)


@scene("POST /gallery/{generation_id}/cancel", "POST /gallery/{generation_id}/delete")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage)
    return Sending(person.browser, {"generation_id": generation_id})


@scene("POST /gallery/{generation_id}/restore")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage)
    assert (await person.browser.post(f"/gallery/{generation_id}/delete")).status_code == 303
    return Sending(person.browser, {"generation_id": generation_id})


@scene("POST /gallery/{generation_id}/retry")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage, job=FAILED)
    return Sending(person.browser, {"generation_id": generation_id})


@scene("POST /gallery/{generation_id}/resubmit")
async def _(stage: Stage) -> Sending:
    person, generation_id = await _started(stage, job=FAILED, needs_review=True)
    return Sending(person.browser, {"generation_id": generation_id})


@scene("POST /projects/{project_id}/cms")
async def _(stage: Stage) -> Sending:
    person = await stage.person()
    return Sending(person.browser, {"project_id": await acting.personal(person)}, data=_CMS)


@scene(
    "POST /projects/{project_id}/cms/test",
    "POST /projects/{project_id}/cms/retry",
    "POST /projects/{project_id}/cms/delete",
)
async def _(stage: Stage) -> Sending:
    person, ids = await _with_cms(stage)
    return Sending(person.browser, ids)
