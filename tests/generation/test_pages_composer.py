"""The composer: what it offers, what it starts, what it says when it cannot."""

import uuid
from typing import Any

import pytest
from sqlalchemy import select

from backend.config import settings
from backend.core.db import transaction
from backend.generation.models import Generation
from tests.conftest import Person
from tests.generation.tasking import Told
from tests.orgs import acting

HTMX = {"HX-Request": "true", "Accept": "*/*"}
ASKED = {"prompt": "A harbour at dawn", "kind": "video", "orientation": "landscape", "seconds": "4"}


async def send(user: Person, *, scripts: bool = True, **form: Any) -> Any:
    return await user.browser.post("/generate", data={**ASKED, **form}, headers=HTMX if scripts else {})


async def made() -> list[Generation]:
    async with transaction() as session:
        return list(await session.scalars(select(Generation).order_by(Generation.created_at)))


async def picture(user: Person, **more: Any) -> str:
    body = {"content_type": "image/png", "size": 70, **more}
    answer = await user.client.post("/api/generations/images", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["image_id"])


async def test_the_quota_is_said_before_it_is_hit(user: Person, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "generations_per_hour", 2)
    assert "2 of 2 left this hour" in (await user.browser.get("/generate")).text
    first = await send(user)
    assert "1 of 2 left this hour" in first.text
    last = await send(user)
    assert "All 2 of this hour are used." in last.text
    assert 'id="make" disabled' in last.text
    refused = await send(user)
    assert (refused.status_code, refused.headers["HX-Retarget"]) == (422, "#composer-problem")
    assert "You may start 2 generations in an hour." in refused.text
    assert "All 2 of this hour are used." in (await user.browser.get("/generate/quota")).text


async def test_what_is_started_is_shown_where_it_is_being_made(user: Person, told: Told) -> None:
    answer = await send(user)
    assert answer.status_code == 200
    (row,) = await made()
    assert f'id="made-{row.id}" data-look="working"' in answer.text
    assert (row.kind, row.spec["orientation"], row.spec["seconds"]) == ("video", "landscape", 4.0)
    assert f'id="made-{row.id}"' in (await user.browser.get("/generate")).text


async def test_it_works_without_scripts(user: Person, told: Told) -> None:
    answer = await send(user, scripts=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/generate")
    assert '<noscript><meta http-equiv="refresh"' in (await user.browser.get("/generate")).text
    refused = await send(user, scripts=False, prompt="  ", orientation="square")
    assert refused.status_code == 422
    assert "Prompt: say what you want to see or hear." in refused.text
    assert 'name="orientation" value="square" checked' in refused.text


async def test_of_what_does_not_belong_to_the_kind_nothing_is_sent(user: Person, told: Told) -> None:
    await send(user, kind="audio", pace="slow", background_noise="rain")
    await send(user, kind="image", pace="slow", seed="12")
    sound, image = await made()
    assert (sound.spec["pace"], sound.spec["background_noise"], sound.spec["seconds"]) == ("slow", "rain", 7.0)
    assert "pace" not in image.spec
    assert (image.spec["seed"], image.spec["orientation"]) == (12, "landscape")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"prompt": "x" * 1001}, "Prompt: at most 1,000 characters."),
        ({"seed": "-3"}, "Seed: a whole number, please."),
        ({"seconds": "900"}, "Length: "),
        ({"kind": "smell"}, "kind: "),
        ({"image": "not an id"}, "Storyboard: "),
        ({"provider_video": "nobody"}, "Made by: "),
    ],
)
async def test_what_cannot_be_made_is_said_in_words(user: Person, told: Told, form: Any, words: str) -> None:
    answer = await send(user, **form)
    assert answer.status_code == 422
    assert words in answer.text
    assert await made() == []


async def test_a_storyboard_is_sent_in_its_order(user: Person, other: Person, told: Told) -> None:
    first, second = await picture(user), await picture(user)
    await send(user, image=[second, first])
    (row,) = await made()
    assert [each["image_id"] for each in row.spec["images"]] == [second, first]
    stolen = await send(user, image=[await picture(other)])
    assert "Storyboard: There is no such picture in this project." in stolen.text


async def test_again_with_changes_holds_what_it_was_made_from(user: Person, other: Person, told: Told) -> None:
    first, second = await picture(user), await picture(user)
    await send(user, image=[second, first], seed="42", seconds="15")
    (row,) = await made()
    html = (await user.browser.get(f"/generate?again={row.id}")).text
    for words in (
        "A harbour at dawn</textarea>",
        'name="orientation" value="landscape" checked',
        'name="seconds" value="15" checked',
        'name="image" value="' + first,
        'value="42"',
    ):
        assert words in html
    assert html.index(f'value="{second}"') < html.index(f'value="{first}"')
    assert (await other.browser.get(f"/generate?again={row.id}")).status_code == 404
    assert (await user.browser.get(f"/generate?again={uuid.uuid4()}")).status_code == 404


async def test_an_odd_length_is_among_the_choices_when_it_is_asked_for_again(user: Person, told: Told) -> None:
    answer = await user.client.post("/api/generations", json={"prompt": "Fog", "seconds": 2.5})
    html = (await user.browser.get(f"/generate?again={answer.json()['generation']['id']}")).text
    assert 'name="seconds" value="2.5" checked' in html


async def test_it_goes_to_the_chosen_project_or_to_ones_own(user: Person, other: Person, told: Told) -> None:
    project = await acting.project(user, "Spring film")
    html = (await user.browser.get(f"/generate?project={project}")).text
    assert f'name="project_id" value="{project}"' in html
    assert "Goes to <bdi>Spring film</bdi>" in html
    await send(user, project_id=project)
    assert str((await made())[0].project_id) == project
    await acting.join(user, other, f"/api/projects/{project}", "viewer")
    html = (await other.browser.get(f"/generate?project={project}")).text
    assert 'name="project_id" value=' not in html
    assert (await send(other, project_id=project)).status_code == 403


async def test_providers_are_offered_only_where_there_are_several(
    user: Person, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    html = (await user.browser.get("/generate")).text
    options = html[html.index('id="provider-video"') :]
    assert options.index('value="told"') < options.index('value="animatic"')
    await send(user, provider_video="animatic")
    assert (await made())[0].provider == "animatic"
