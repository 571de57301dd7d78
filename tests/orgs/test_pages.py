"""Projects, organizations, members, invitations and keys, as a browser asks for them."""

import html
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.conftest import MakeUser, Person, http_client
from tests.orgs.acting import join, key, made, organization, personal, program, project
from tests.videos.sending import BYTES, put, send

HTML = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


def text_of(answer: httpx.Response) -> str:
    """The words of a page, without its frame."""
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", main)))


async def send_into(project_id: str, user: Person, **texts: str) -> dict[str, Any]:
    """A video in this project."""
    wanted = {"filename": "clip.mp4", "size": len(BYTES), "content_type": "video/mp4", "project_id": project_id}
    place = (await user.client.post("/api/upload/presigned-url", json=wanted)).json()
    assert (await put(place["upload_url"], BYTES, place["headers"])).status_code == 200
    return await made(await user.client.post("/api/videos", json={"video_id": place["video_id"], **texts}))


def secret_in(answer: httpx.Response) -> str:
    found = re.search(r'id="secret" type="text" value="([^"]+)"', answer.text)
    assert found is not None, answer.text
    return html.unescape(found[1])


# --- projects and organizations --------------------------------------------------------------------------------------


async def test_the_list_shows_ones_own_those_of_organizations_and_those_that_are_shared(
    user: Person, other: Person
) -> None:
    org = await organization(user, "Film club")
    await project(user, "Spring film")
    await project(user, "Club archive", organization_id=org)
    theirs = await project(other, "Regatta")
    await join(other, user, f"/api/projects/{theirs}", "viewer")
    page = text_of(await user.browser.get("/projects"))
    parts = [page.index(word) for word in ("Yours", "Spring film", "Film club", "Club archive", "Shared with you")]
    assert parts == sorted(parts)
    assert page.rindex("Regatta") > parts[-1]


async def test_a_project_is_made_renamed_and_deleted_by_forms(user: Person) -> None:
    made = await user.browser.post("/projects", data={"name": "Spring film", "organization_id": ""})
    assert made.status_code == 303
    base = re.match(r"/projects/[0-9a-f-]{36}", made.headers["location"])
    assert base is not None
    await key(user, base[0].rpartition("/")[2])
    renamed = await user.browser.post(f"{base[0]}/settings", data={"name": "Summer film"})
    assert renamed.headers["location"] == f"{base[0]}/settings?done=renamed"
    page = text_of(await user.browser.get(renamed.headers["location"]))
    assert "Renamed." in page
    assert "1 API key will be gone for good" in page
    assert "Summer film" in page
    deleted = await user.browser.post(f"{base[0]}/delete")
    assert deleted.headers["location"] == "/projects?done=deleted"
    assert (await user.browser.get(base[0])).status_code == 404


async def test_deleting_says_how_much_goes_with_it(user: Person) -> None:
    mine = await project(user)
    await send_into(mine, user)
    assert re.search(r"1 video \([^)]+\) will be gone", text_of(await user.browser.get(f"/projects/{mine}/settings")))


async def test_an_organization_with_projects_says_why_it_stays(user: Person) -> None:
    org = await organization(user)
    await project(user, organization_id=org)
    assert "Delete it first" in text_of(await user.browser.get(f"/orgs/{org}/settings"))
    refused = await user.browser.post(f"/orgs/{org}/delete")
    assert refused.status_code == 409
    assert "The organization has projects" in text_of(refused)


@pytest.mark.parametrize("path", ["/projects", "/orgs"])
async def test_a_blank_name_brings_the_form_back(user: Person, path: str) -> None:
    refused = await user.browser.post(path, data={"name": " "})
    assert refused.status_code == 422
    assert "Please fill this in." in refused.text
    assert "open data-opened" in refused.text
    assert 'data-address="/projects"' in refused.text  # what the browser shows, and loads again


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/projects", "Projects"),
        ("/projects/{mine}/members", "Members · Spring film"),
        ("/projects/{mine}/keys", "API keys · Spring film"),
        ("/projects/{mine}/settings", "Settings · Spring film"),
        ("/dashboard?project={mine}", "Library · Spring film"),
    ],
)
async def test_each_page_has_a_title_of_its_own(user: Person, path: str, title: str) -> None:
    page = await user.browser.get(path.format(mine=await project(user, "Spring film")))
    assert f"<title>{title} · Dailies</title>" in page.text


async def test_activity_says_who_did_what_page_by_page(user: Person) -> None:
    mine = await project(user, "Spring film")
    for number in range(52):
        await user.client.patch(f"/api/projects/{mine}", json={"name": f"Take {number}"})
    newest = await user.browser.get(f"/projects/{mine}/activity")
    assert "Renamed the project from “Take 50” to “Take 51”" in text_of(newest)
    older = re.search(r'rel="next" href="([^"]+)"', newest.text)
    assert older is not None
    assert "Made the project “Spring film”" in text_of(await user.browser.get(older[1]))


# --- members ---------------------------------------------------------------------------------------------------------


async def test_members_are_raised_and_removed(user: Person, other: Person) -> None:
    mine = await project(user)
    await join(user, other, f"/api/projects/{mine}", "viewer")
    member = f"/projects/{mine}/members/{other.id}"
    assert "Viewer" in text_of(await user.browser.get(f"/projects/{mine}/members"))
    assert (await user.browser.post(member, data={"role": "editor"})).status_code == 303
    roles = (await user.client.get(f"/api/projects/{mine}/members")).json()["members"]
    assert {"editor", "owner"} == {each["role"] for each in roles}
    assert (await user.browser.post(member, data={"role": "admin"})).status_code == 303
    await key(other, mine)
    assert (await user.browser.post(f"{member}/remove")).status_code == 303
    assert (await other.browser.get(f"/projects/{mine}/members")).status_code == 404
    activity = text_of(await user.browser.get(f"/projects/{mine}/activity"))
    assert f"Removed {other.email}, who was admin; 1 key ended with it" in activity


async def test_the_last_owner_is_told_why_not(user: Person) -> None:
    org = await organization(user)
    refused = await user.browser.post(f"/orgs/{org}/members/{user.id}", data={"role": "viewer"})
    assert refused.status_code == 409
    assert "This is the only owner" in text_of(refused)


async def test_the_only_owner_has_no_button_that_would_be_refused(user: Person, other: Person) -> None:
    org = await organization(user)
    here = f"/orgs/{org}/members"
    alone = await user.browser.get(here)
    assert "Only owner" in text_of(alone)
    assert f"{here}/{user.id}" not in alone.text
    await join(user, other, f"/api/orgs/{org}", "owner")
    both = await user.browser.get(here)
    assert "Only owner" not in text_of(both)
    assert f"{here}/{user.id}/remove" in both.text


async def test_who_is_a_member_twice_is_one_member_with_both_roles(user: Person, other: Person) -> None:
    org = await organization(user, "Film club")
    mine = await project(user, "Spring film", organization_id=org)
    await join(user, other, f"/api/orgs/{org}", "viewer")
    await join(user, other, f"/api/projects/{mine}", "editor")
    page = text_of(await user.browser.get(f"/projects/{mine}/members"))
    assert "2 members" in page
    assert page.count(other.email) == 1
    assert "also viewer through Film club" in page


async def test_a_viewer_sees_no_button_that_is_not_theirs_and_is_refused_behind_them(
    user: Person, other: Person
) -> None:
    mine = await project(user, "Spring film")
    video = await send_into(mine, user)
    await join(user, other, f"/api/projects/{mine}", "viewer")
    page = await other.browser.get(f"/projects/{mine}/members")
    assert "Invite" not in text_of(page)
    for tab in ("keys", "webhooks", "activity"):
        assert f"/projects/{mine}/{tab}" not in page.text
        assert (await other.browser.get(f"/projects/{mine}/{tab}")).status_code == 403
    settings = await other.browser.get(f"/projects/{mine}/settings")
    assert "Rename" not in text_of(settings)
    assert "Delete" not in text_of(settings)
    library = await other.browser.get(f"/dashboard?project={mine}")
    for word in ("Edit", "Delete", "Upload a video"):
        assert word not in re.sub(r"<dialog.*?</dialog>", "", library.text, flags=re.DOTALL)
    assert 'class="btn" href="/upload"' not in library.text
    watched = (await other.browser.get(f"/videos/{video['id']}")).text
    for button in ("edit-button", "move-dialog", "/delete", "/retry", "/cancel"):
        assert button not in watched
    writes = {
        f"/projects/{mine}/settings": {"name": "Mine"},
        f"/projects/{mine}/delete": {},
        f"/projects/{mine}/keys": {"name": "Robot", "scopes": "read"},
        f"/projects/{mine}/invitations": {"role": "viewer"},
        f"/projects/{mine}/webhooks": {"url": "https://example.org", "events": "video.*"},
        f"/videos/{video['id']}/delete": {},
        f"/videos/{video['id']}/retry": {},
        f"/videos/{video['id']}/move": {"project_id": mine},
    }
    for path, form in writes.items():
        assert (await other.browser.post(path, data=form)).status_code == 403, path


# --- invitations -----------------------------------------------------------------------------------------------------


async def test_an_invitation_says_who_invites_to_what_and_is_accepted_after_registering(
    user: Person, app: FastAPI
) -> None:
    mine = await project(user, "Spring film")
    form = {"role": "editor", "email": "", "expires_in_days": "7"}
    made = await user.browser.post(f"/projects/{mine}/invitations", data=form)
    assert made.status_code == 201
    path = httpx.URL(secret_in(made)).path
    assert path not in (await user.browser.get(f"/projects/{mine}/members")).text
    async with http_client(app, **HTML) as newcomer:
        page = await newcomer.get(path)
        assert user.email in text_of(page)
        assert "You would be an editor of this project" in text_of(page)
        door = re.search(r'href="/register\?next=([^"]+)"', page.text)
        assert door is not None
        account = {"email": "new@example.org", "password": "correct horse battery", "next": path}
        assert (await newcomer.post("/register", data=account)).headers["location"] == path
        assert "Accept" in text_of(await newcomer.get(path))
        joined = await newcomer.post(path)
        assert joined.headers["location"] == f"/projects/{mine}/members?done=joined"
        assert "You are in." in text_of(await newcomer.get(joined.headers["location"]))


async def test_an_invitation_that_ended_says_why(user: Person, other: Person, make_user: MakeUser) -> None:
    mine = await project(user, "Spring film")
    third = await make_user()
    links = []
    for _ in range(2):
        made = await user.client.post(f"/api/projects/{mine}/invitations", json={"role": "viewer"})
        links.append((made.json()["id"], f"/invitations/{made.json()['token']}"))
    assert (await other.browser.post(links[0][1])).status_code == 303
    assert "This invitation was used" in text_of(await third.browser.get(links[0][1]))
    refused = await third.browser.post(links[0][1])
    assert (refused.status_code, "was used" in text_of(refused)) == (410, True)
    assert (await user.browser.post(f"/projects/{mine}/invitations/{links[1][0]}/revoke")).status_code == 303
    assert "This invitation was taken back" in text_of(await third.browser.get(links[1][1]))
    assert (await third.browser.get("/invitations/nothing-like-it")).status_code == 404


# --- keys ------------------------------------------------------------------------------------------------------------


async def test_a_key_is_made_shown_once_replaced_and_revoked(user: Person, app: FastAPI) -> None:
    mine = await project(user)
    here = f"/projects/{mine}/keys"
    made = await user.browser.post(here, data={"name": "Robot", "scopes": ["read", "write"], "days": "30"})
    assert made.status_code == 201
    first = secret_in(made)
    listed = await user.browser.get(here)
    assert first not in listed.text
    assert "Read, Write" in text_of(listed)
    assert "Never used" in text_of(listed)
    async with program(app, first) as robot:
        assert (await robot.get("/api/videos")).status_code == 200
    key_id = re.search(rf"{here}/([0-9a-f-]+)/revoke", listed.text)
    assert key_id is not None
    asked = await user.browser.get(f"{here}?ask={key_id[1]}")
    assert f"{key_id[1]}/rotate" in asked.text
    replaced = await user.browser.post(f"{here}/{key_id[1]}/rotate", data={"overlap_seconds": "86400"})
    second = secret_in(replaced)
    async with program(app, first) as old, program(app, second) as new:
        assert [(await each.get("/api/videos")).status_code for each in (old, new)] == [200, 200]
        assert (await user.browser.post(f"{here}/{key_id[1]}/revoke")).status_code == 303
        assert [(await each.get("/api/videos")).status_code for each in (old, new)] == [401, 200]
    again = await user.browser.post(f"{here}/{key_id[1]}/rotate", data={"overlap_seconds": "0"})
    assert (again.status_code, "This key has ended" in text_of(again)) == (409, True)


@pytest.mark.parametrize("form", [{"name": "", "scopes": "read"}, {"name": "Robot"}, {"name": "R", "scopes": "all"}])
async def test_a_key_without_a_name_or_scope_brings_the_form_back(user: Person, form: dict[str, str]) -> None:
    refused = await user.browser.post(f"/projects/{await personal(user)}/keys", data=form)
    assert refused.status_code == 422
    assert "data-error" in refused.text


# --- the switcher ----------------------------------------------------------------------------------------------------


async def test_the_chosen_project_narrows_the_library_and_is_remembered(user: Person) -> None:
    mine = await project(user, "Spring film")
    await send_into(mine, user, title="In the film")
    await send(user, title="At home")
    chosen = await user.browser.get(f"/dashboard?project={mine}")
    assert "In the film" in chosen.text
    assert "At home" not in chosen.text
    assert 'aria-label="Project: Spring film"' in chosen.text
    back = await user.browser.get("/dashboard?q=film")
    assert (back.status_code, back.headers["location"]) == (303, f"/dashboard?q=film&project={mine}")
    upload = await user.browser.get("/upload")
    assert f'<option value="{mine}" selected>' in upload.text
    assert "into “Spring film”" in text_of(upload)
    everything = await user.browser.get("/dashboard?project=all")
    assert everything.headers["location"] == "/dashboard"
    shown = await user.browser.get("/dashboard")
    assert "In the film" in shown.text
    assert "At home" in shown.text


async def test_uploads_of_somebody_who_may_only_watch_are_said_to_go_home(user: Person, other: Person) -> None:
    mine = await project(user, "Spring film")
    await join(user, other, f"/api/projects/{mine}", "viewer")
    await other.browser.get(f"/dashboard?project={mine}")
    page = text_of(await other.browser.get("/upload"))
    assert "into “Personal”" in page
    assert "You may watch “Spring film”, but not add to it." in page


async def test_a_project_that_is_gone_is_forgotten(user: Person) -> None:
    mine = await project(user)
    await user.browser.get(f"/dashboard?project={mine}")
    await user.client.delete(f"/api/projects/{mine}")
    assert (await user.browser.get("/dashboard")).status_code == 200
    assert (await user.browser.get(f"/dashboard?project={mine}")).status_code == 404


async def test_a_video_is_moved_by_its_page(user: Person) -> None:
    mine = await project(user, "Spring film")
    video = await send(user)
    page = await user.browser.get(f"/videos/{video['id']}")
    assert f'<option value="{mine}">Spring film' in page.text
    await user.client.post(f"/api/jobs/{video['job_id']}/cancel")
    moved = await user.browser.post(f"/videos/{video['id']}/move", data={"project_id": mine})
    assert moved.headers["location"] == f"/videos/{video['id']}"
    assert (await user.client.get(f"/api/videos/{video['id']}")).json()["project_id"] == mine
    assert "Moved the video" in text_of(await user.browser.get(f"/projects/{mine}/activity"))
