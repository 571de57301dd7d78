"""Sessions in a browser without scripts."""

from pathlib import Path

from sqlalchemy import update

from backend.core.db import transaction
from backend.videos.models import Video, VideoStatus
from tests.coaching.coaches import API, complete, give, initiate, new_session, put, short_clip
from tests.conftest import Person
from tests.orgs.acting import join

FORM = {"title": "Nets", "player_ids": "ann, bob, ann", "discipline": "batting", "view": "side", "notes": "Windy"}


async def test_a_session_is_made_changed_and_deleted(user: Person) -> None:
    empty = await user.browser.get("/sessions")
    assert "No sessions yet" in empty.text
    made = await user.browser.post("/sessions", data=FORM)
    assert made.status_code == 303
    here = made.headers["location"].partition("?")[0]
    page = await user.browser.get(here)
    assert all(word in page.text for word in ("Nets", "ann", "bob", "Batting", "from the side", "Windy"))
    assert "Nets" in (await user.browser.get("/sessions?discipline=batting")).text
    assert "No session matches" in (await user.browser.get("/sessions?q=golf")).text
    changed = await user.browser.post(here, data={**FORM, "title": "Nets 2", "notes": ""})
    assert changed.status_code == 303
    page = await user.browser.get(here)
    assert ("Nets 2" in page.text, "Windy" in page.text) == (True, False)
    assert (await user.browser.post(f"{here}/delete")).headers["location"] == "/sessions?done=deleted"
    assert (await user.browser.get(here)).status_code == 404


async def test_what_is_wrong_with_a_form_is_said_beside_it(user: Person) -> None:
    answer = await user.browser.post("/sessions", data={**FORM, "title": ""})
    assert (answer.status_code, "Please fill this in" in answer.text, "Windy" in answer.text) == (422, True, True)


async def test_analyses_are_asked_for_stopped_tried_again_and_deleted(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await put(place["presigned_url"], short_clip(tmp_path))
    await complete(user, place["job_id"])
    here = f"/sessions/{session['id']}"
    video = (await user.client.get("/api/videos")).json()["videos"][0]["id"]
    asked = await user.browser.post(f"{here}/analyses", data={"video_id": video, "sample_fps": "20"})
    assert asked.status_code == 303
    assert (await user.browser.post(f"{here}/analyses", data={"video_id": "x"})).status_code == 422
    for fps, words in (("99", "Use 30 or less."), ("0", "Use 1 or more."), ("ten", "This is not a number")):
        refused = await user.browser.post(f"{here}/analyses", data={"video_id": video, "sample_fps": fps})
        assert (refused.status_code, words in refused.text) == (422, True)
    one = f"{here}/analyses/{place['job_id']}"
    assert (await user.browser.post(f"{one}/retry")).status_code == 409
    assert (await user.browser.post(f"{one}/cancel")).status_code == 303
    assert "Cancelled" in (await user.browser.get(here)).text
    assert (await user.browser.post(f"{one}/retry")).status_code == 303
    assert (await user.browser.post(f"{one}/cancel")).status_code == 303
    assert (await user.browser.post(f"{one}/delete")).status_code == 303
    assert (await user.browser.post(f"{one}/delete")).status_code == 404
    assert (await user.browser.post(f"{one}/explode")).status_code == 404
    listed = (await user.client.get(f"{API}/sessions/{session['id']}/analysis-jobs")).json()["analysis_jobs"]
    assert [each["sample_fps"] for each in listed] == [20]


async def test_a_file_that_is_no_video_is_not_offered(user: Person, tmp_path: Path) -> None:
    session = await new_session(user)
    place = await initiate(user, session["id"])
    await put(place["presigned_url"], short_clip(tmp_path))
    await complete(user, place["job_id"])
    page = await user.browser.get(f"/sessions/{session['id']}")
    assert "From the library" in page.text
    async with transaction() as changing:
        await changing.execute(update(Video).values(status=VideoStatus.FAILED, width=None))
    page = await user.browser.get(f"/sessions/{session['id']}")
    assert "From the library" not in page.text


async def test_a_viewer_is_shown_no_button_that_answers_403(user: Person, other: Person) -> None:
    session = await new_session(user)
    await join(user, other, f"/api/projects/{session['project_id']}", "viewer")
    page = await other.browser.get(f"/sessions/{session['id']}")
    assert page.status_code == 200
    hidden = ("Add a video", "Delete session", "/analyses", 'method="post" action="/sessions')
    assert not any(word in page.text for word in hidden)
    assert (await other.browser.post(f"/sessions/{session['id']}/delete")).status_code == 403


async def test_without_a_role_there_is_no_entry_and_no_page(user: Person) -> None:
    assert 'href="/sessions"' in (await user.browser.get("/dashboard")).text
    await give(user, roles=[])
    assert 'href="/sessions"' not in (await user.browser.get("/dashboard")).text
    assert (await user.browser.get("/sessions")).status_code == 403


async def test_a_player_has_a_page(user: Person) -> None:
    await new_session(user, player_ids=["Åsa / 7"])
    assert 'href="/players/%C3%85sa%20/%207"' in (await user.browser.get("/sessions")).text
    page = await user.browser.get("/players/Åsa / 7")
    assert (page.status_code, "Åsa / 7" in page.text) == (200, True)
