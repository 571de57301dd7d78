"""The gallery and one thing's page, as a browser asks for them."""

import asyncio
import re
import uuid
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from backend.config import settings
from backend.core.db import transaction
from backend.generation import pages_wall
from backend.generation.models import Generation
from backend.generation.providers.base import Failed
from tests.conftest import Person
from tests.generation.tasking import MakeTasks, Told, run_queue
from tests.orgs import acting

HTMX = {"HX-Request": "true", "Accept": "*/*"}
REFUSED = Failed("provider_error", "The model does not draw that.")


@pytest.fixture(autouse=True)
def without_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "generations_per_hour", 0)


async def ask(user: Person, prompt: str, **more: Any) -> str:
    """Have something made; answers its id."""
    answer = await user.client.post("/api/generations", json={"prompt": prompt, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["generation"]["id"])


async def page(user: Person, path: str = "/gallery", status: int = 200, scripts: bool = False) -> str:
    answer = await user.browser.get(path, headers=HTMX if scripts else {})
    assert answer.status_code == status, answer.text
    return answer.text


def tiles(html: str) -> list[tuple[str, str]]:
    """Prompt and look of what hangs on the wall, in order."""
    looks = re.findall(r'<li class="tile"[^>]* data-look="(\w+)"', html)
    return list(zip(re.findall(r'class="tile-words"[^>]*><span>([^<]*)<', html), looks, strict=True))


# --- the wall --------------------------------------------------------------------------------------------------------


async def test_whoever_is_not_signed_in_is_sent_to_the_login_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/gallery?kind=image", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/gallery%3Fkind%3Dimage")


async def test_an_empty_gallery_offers_the_one_next_step(user: Person) -> None:
    html = await page(user)
    assert "What you make will hang here" in html
    assert 'href="/generate"' in html
    assert '<div class="library-bar" hidden>' in html


async def test_what_was_made_hangs_there_newest_first_each_in_its_shape(user: Person, told: Told) -> None:
    await ask(user, "A harbour at dawn")
    await ask(user, "An old sailor", kind="image")
    await run_queue("generation")
    await ask(user, "The sea was quiet", kind="audio")
    html = await page(user)
    assert tiles(html) == [("The sea was quiet", "working"), ("An old sailor", "ready"), ("A harbour at dawn", "ready")]
    assert re.findall(r'data-shape="(\w+)" data-kind="(\w+)"', html) == [
        ("sound", "audio"),
        ("square", "image"),
        ("portrait", "video"),
    ]
    assert "Next in the queue" in html or "Waiting for a worker" in html


async def test_filters_and_words_come_from_the_address(user: Person, told: Told) -> None:
    await ask(user, "A harbour at dawn")
    await ask(user, "A quarry at noon", kind="image")
    await run_queue("generation")
    told.script = [REFUSED]
    await ask(user, "A quarry at night", kind="image")
    await run_queue("generation")
    await ask(user, "Waves", kind="audio")

    async def shown(query: str) -> list[str]:
        return [prompt for prompt, _ in tiles(await page(user, f"/gallery?{query}", scripts=True))]

    assert await shown("kind=image") == ["A quarry at night", "A quarry at noon"]
    assert await shown("state=failed") == ["A quarry at night"]
    assert await shown("kind=image&state=ready") == ["A quarry at noon"]
    assert await shown("state=working") == ["Waves"]
    assert await shown("q=quar+no") == ["A quarry at noon"]
    assert await shown("kind=paper&state=lost&page=x") == await shown("")
    html = await page(user)
    assert re.findall(r'id="(?:kind|state)-(\w+)".*?chip-count">(\d+)<', html) == [
        ("all", "4"),
        ("video", "1"),
        ("image", "2"),
        ("audio", "1"),
        ("working", "1"),
        ("ready", "2"),
        ("failed", "1"),
    ]


async def test_a_search_or_filter_without_a_result_offers_the_way_back(user: Person, told: Told) -> None:
    await ask(user, "A harbour at dawn")
    assert "Clear the search" in await page(user, "/gallery?q=zebra")
    html = await page(user, "/gallery?state=failed")
    assert "Nothing has failed" in html
    assert "Show all" in html


async def test_a_prompt_is_text_and_never_markup(user: Person, told: Told) -> None:
    made = await ask(user, '<img src=x onerror="alert(1)"> & "quotes"')
    for path in ("/gallery", f"/gallery/{made}", "/generate", f"/generate?again={made}"):
        assert "<img src=x" not in await page(user, path)


async def test_many_things_come_in_pages(user: Person, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_wall, "PAGE_SIZE", 2)
    for number in range(5):
        await ask(user, f"Shot {number}")
    html = await page(user, "/gallery?page=2")
    assert [prompt for prompt, _ in tiles(html)] == ["Shot 2", "Shot 1"]
    assert "3–4 of 5" in html
    assert 'href="/gallery?page=3"' in html
    assert [prompt for prompt, _ in tiles(await page(user, "/gallery?page=9"))] == ["Shot 0"]


async def test_a_trial_of_a_back_end_does_not_hang_there(user: Person, make_tasks: MakeTasks, told: Told) -> None:
    tasks = await make_tasks(user)
    await tasks.submit("test_prompt")
    await tasks.submit("generate_image")
    assert len(tiles(await page(user))) == 1


async def test_the_wall_is_of_the_chosen_project_and_of_nobody_elses(user: Person, other: Person, told: Told) -> None:
    project = await acting.project(user)
    await ask(user, "Mine alone")
    await ask(user, "Of the project", project_id=project)
    assert len(tiles(await page(user))) == 2
    assert [prompt for prompt, _ in tiles(await page(user, f"/gallery?project={project}"))] == ["Of the project"]
    await page(other, f"/gallery?project={project}", status=404)
    assert tiles(await page(other)) == []


# --- one thing -------------------------------------------------------------------------------------------------------


async def test_a_thing_has_a_page_that_says_how_it_was_made(user: Person, told: Told) -> None:
    made = await ask(user, "A harbour at dawn", orientation="landscape", seed=7)
    assert "Cancel" in await page(user, f"/gallery/{made}")
    await run_queue("generation")
    html = await page(user, f"/gallery/{made}")
    assert f'<video controls playsinline preload="metadata" src="/gallery/{made}/file"' in html
    for words in ("told (told-1)", "Landscape, 64 × 64", "<dt>Seed</dt><dd><bdi>7</bdi>", f"/videos/{made}"):
        assert words in html


async def test_what_is_not_as_it_was_asked_for_is_said(user: Person, told: Told) -> None:
    made = await ask(user, "A harbour at dawn")
    await run_queue("generation")
    async with transaction() as session:
        notes = {"notes": ["2 of 5 pictures found no room in 4 s."]}
        row = update(Generation).where(Generation.id == uuid.UUID(made))
        await session.execute(row.values(external_detail=notes))
    assert "2 of 5 pictures found no room in 4 s." in await page(user, f"/gallery/{made}")


@pytest.mark.parametrize(("kind", "element"), [("image", "<img"), ("audio", "<audio")])
async def test_a_picture_is_shown_and_a_sound_played(user: Person, told: Told, kind: str, element: str) -> None:
    made = await ask(user, "A harbour at dawn", kind=kind)
    await run_queue("generation")
    html = await page(user, f"/gallery/{made}")
    assert f"{element} " in html
    assert f'src="/gallery/{made}/file"' in html
    answer = await user.browser.get(f"/gallery/{made}/file?download=true")
    assert answer.status_code == 303
    async with httpx.AsyncClient() as storage:
        file = await storage.get(answer.headers["location"])
    assert file.status_code == 200
    assert "a-harbour-at-dawn" in file.headers["content-disposition"]


async def test_what_is_not_made_has_no_file_and_anothers_is_not_there(user: Person, other: Person, told: Told) -> None:
    made = await ask(user, "A harbour at dawn")
    for path in (f"/gallery/{made}", f"/gallery/{made}/tile", f"/gallery/{made}/making", f"/gallery/{made}/preview"):
        await page(other, path, status=404)
    await page(user, f"/gallery/{made}/file", status=404)
    assert (await user.browser.get(f"/gallery/{made}/preview")).status_code == 204
    await page(user, f"/gallery/{uuid.uuid4()}", status=404)


# --- buttons ---------------------------------------------------------------------------------------------------------


async def test_a_failed_one_says_why_and_is_tried_again_where_it_hangs(user: Person, told: Told) -> None:
    told.script = [REFUSED]
    made = await ask(user, "A harbour at dawn")
    await run_queue("generation")
    html = await page(user, f"/gallery/{made}")
    assert "The model does not draw that." in html
    assert "<code>provider_error</code>" in html
    again = await user.browser.post(f"/gallery/{made}/retry", data={"place": "wall"}, headers=HTMX)
    assert tiles(again.text) == [("A harbour at dawn", "working")]
    twice = await user.browser.post(f"/gallery/{made}/retry", data={"place": "wall"}, headers=HTMX)
    assert (twice.status_code, twice.headers["HX-Reswap"]) == (409, "none")
    await run_queue("generation")
    assert tiles(await page(user)) == [("A harbour at dawn", "ready")]


async def test_one_that_waits_is_cancelled_with_and_without_scripts(user: Person, told: Told) -> None:
    first, second = [await ask(user, "A harbour at dawn") for _ in range(2)]
    fragment = await user.browser.post(f"/gallery/{first}/cancel", headers=HTMX)
    assert f'id="made-{first}" data-look="cancelled"' in fragment.text
    answer = await user.browser.post(f"/gallery/{second}/cancel")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/gallery/{second}")
    assert "Try again" in await page(user, f"/gallery/{second}")


async def test_what_nobody_knows_about_is_sent_again_only_by_its_own_button(user: Person, told: Told) -> None:
    told.script = [Failed("submission_unknown", "The line was cut.", unknown=True)]
    made = await ask(user, "A harbour at dawn")
    await run_queue("generation")
    html = await page(user, f"/gallery/{made}")
    assert "Nobody knows what became of it" in html
    assert "Send it again" in html
    assert "Try again" not in html
    assert (await user.browser.post(f"/gallery/{made}/retry", headers=HTMX)).status_code == 409
    assert (await user.browser.post(f"/gallery/{made}/resubmit", headers=HTMX)).status_code == 200
    await run_queue("generation")
    assert tiles(await page(user)) == [("A harbour at dawn", "ready")]


async def test_a_deleted_one_is_gone_at_once_and_comes_back(user: Person, told: Told) -> None:
    made = await ask(user, "A harbour at dawn")
    await run_queue("generation")
    answer = await user.browser.post(f"/gallery/{made}/delete", headers=HTMX)
    assert (answer.status_code, f"/gallery/{made}/restore" in answer.headers["HX-Trigger"]) == (204, True)
    assert tiles(await page(user)) == []
    assert (await user.browser.post(f"/gallery/{made}/restore", headers=HTMX)).status_code == 204
    assert tiles(await page(user)) == [("A harbour at dawn", "ready")]
    plain = await user.browser.post(f"/gallery/{made}/delete")
    assert plain.headers["location"] == f"/gallery?deleted={made}"
    assert f'action="/gallery/{made}/restore"' in await page(user, plain.headers["location"])


async def test_one_whose_video_was_deleted_has_no_page_until_that_is_back(user: Person, told: Told) -> None:
    film = await ask(user, "A lighthouse")
    await run_queue()
    await user.client.delete(f"/api/videos/{film}")
    await page(user, f"/gallery/{film}", status=404)
    await user.browser.post(f"/videos/{film}/restore")
    assert "<video" in await page(user, f"/gallery/{film}")


async def test_whoever_may_only_look_gets_no_buttons(user: Person, other: Person, told: Told) -> None:
    project = await acting.project(user)
    await acting.join(user, other, f"/api/projects/{project}", "viewer")
    made = await ask(user, "A harbour at dawn", project_id=project)
    assert f'action="/gallery/{made}/' not in await page(other, f"/gallery/{made}")
    for verb in ("cancel", "retry", "resubmit", "delete"):
        assert (await other.browser.post(f"/gallery/{made}/{verb}", headers=HTMX)).status_code == 403


# --- live ------------------------------------------------------------------------------------------------------------


async def test_the_stream_tells_how_far_it_is_and_when_it_is_there(user: Person, told: Told) -> None:
    from backend.generation.pages_live import gallery_events

    made = await ask(user, "A harbour at dawn")
    told.go_on.clear()
    actor = await acting.actor_of(user)
    heard: list[str] = []
    events = gallery_events(actor=actor, seen=None)

    async def listen() -> None:
        async for event in events:
            heard.append(f"{event.event}: {event.data}")  # noqa: PERF401  # it is read meanwhile

    listening = asyncio.create_task(listen())
    running = asyncio.create_task(run_queue("generation"))
    async with asyncio.timeout(30):
        while not any(re.search(r">[3-6]\d%", each) for each in heard):
            await asyncio.sleep(0.05)
        assert any(each.startswith(f"made-{made}: ") for each in heard)
        told.go_on.set()
        while f"end-{made}: changed" not in heard:
            await asyncio.sleep(0.05)
        while heard[-1] != "gallery: changed":  # a page that was fetched when it began may not have heard its end
            await asyncio.sleep(0.05)
    await running
    listening.cancel()


async def test_a_page_that_comes_back_is_told_that_something_changed(user: Person, told: Told) -> None:
    from backend.generation.pages_live import gallery_events, look

    actor = await acting.actor_of(user)
    before = (await look(actor)).mark
    await ask(user, "A harbour at dawn")
    assert (await look(actor)).mark != before
    first = await anext(aiter(gallery_events(actor=actor, seen=before)))
    assert first.event == "gallery"


async def test_one_whose_job_is_no_longer_on_record_is_judged_by_what_came_of_it(user: Person, told: Told) -> None:
    made = [await ask(user, "A harbour at dawn", kind=kind) for kind in ("image", "audio")]
    async with transaction() as session:
        ids = [uuid.UUID(each) for each in made]
        await session.execute(update(Generation).where(Generation.id.in_(ids)).values(job_id=None))
        named = {"s3_key": "projects/x/output.jpg", "content_type": "image/jpeg"}
        await session.execute(update(Generation).where(Generation.id == ids[0]).values(**named))
    assert [look for _, look in tiles(await page(user))] == ["failed", "ready"]
    assert len(tiles(await page(user, "/gallery?state=failed"))) == 1
