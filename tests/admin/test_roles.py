"""Who may see the admins' routes, and who may act: every route, for everybody."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import select

from backend.admin import api, pages
from backend.admin.doctor import api as doctor_api
from backend.admin.doctor import pages as doctor_pages
from backend.admin.storage import api as storage_api
from backend.admin.storage import pages as storage_pages
from backend.core.db import transaction
from backend.orgs.models import AuditEntry
from tests.admin.conftest import People, give_role
from tests.conftest import MakeUser, Person

NOBODY = str(uuid.UUID(int=1))

#: Every route of admins: method and path, a body, and what an admin is answered (a thing that is not there: 404).
READS: list[tuple[str, int]] = [
    ("/api/admin/queues", 200),
    ("/api/admin/jobs", 200),
    ("/api/admin/jobs/count", 200),
    (f"/api/admin/jobs/{NOBODY}", 404),
    ("/api/admin/workers", 200),
    ("/api/admin/audit", 200),
    ("/api/admin/users?email=nobody@example.org", 200),
    ("/admin", 303),
    ("/admin/audit", 200),
    ("/admin/queue", 200),
    ("/admin/queue/now", 200),
    ("/admin/queue/rows", 200),
    (f"/admin/jobs/{NOBODY}", 404),
    (f"/admin/jobs/{NOBODY}/now", 404),
    ("/api/admin/doctor", 200),
    ("/api/admin/doctor/stream", 200),
    ("/admin/doctor", 200),
    ("/admin/doctor/findings", 200),
    ("/api/admin/storage", 200),
    ("/admin/storage", 200),
    ("/admin/storage/findings", 200),
]
WRITES: list[tuple[str, str, Any, int]] = [
    ("POST", "/api/admin/queues/media/pause", None, 204),
    ("POST", "/api/admin/queues/media/resume", None, 204),
    ("POST", f"/api/admin/jobs/{NOBODY}/retry", None, 404),
    ("POST", f"/api/admin/jobs/{NOBODY}/cancel", None, 404),
    ("POST", f"/api/admin/jobs/{NOBODY}/restart", None, 404),
    ("POST", "/api/admin/jobs/bulk", {"action": "retry", "filter": {}}, 200),
    ("PATCH", f"/api/admin/users/{NOBODY}", {"roles": []}, 404),
    ("PATCH", f"/api/admin/orgs/{NOBODY}", {"features": []}, 404),
    ("POST", "/admin/queues/media/pause", None, 204),
    ("POST", "/admin/queues/media/resume", None, 204),
    ("POST", f"/admin/jobs/{NOBODY}/retry", None, 404),
    ("POST", f"/admin/jobs/{NOBODY}/cancel", None, 404),
    ("POST", "/api/admin/doctor", None, 200),
    ("POST", "/api/admin/doctor/browser", None, 200),
    ("POST", "/admin/doctor/findings", None, 200),
    ("POST", "/admin/doctor/browser", {}, 422),
    ("POST", "/api/admin/storage/mend", None, 200),
    ("POST", "/admin/storage/findings", None, 200),
]

#: Open to no role at all: who asks shows that they know our SECRET_KEY (tests/admin/doctor/test_terminal.py).
KEYED = ("GET", "/api/admin/doctor/settings")


def of(person: Person, path: str) -> httpx.AsyncClient:
    return person.client if path.startswith("/api/") else person.browser


@pytest.mark.parametrize(("path", "answer"), READS, ids=[path for path, _ in READS])
async def test_admins_and_auditors_may_look(path: str, answer: int, people: People, client: httpx.AsyncClient) -> None:
    said = {
        "admin": (await of(people.admin, path).get(path)).status_code,
        "auditor": (await of(people.auditor, path).get(path)).status_code,
        "user": (await of(people.user, path).get(path)).status_code,
        "nobody": (await client.get(path)).status_code,
    }
    signed_out = 401 if path.startswith("/api/") else 303
    assert said == {"admin": answer, "auditor": answer, "user": 403, "nobody": signed_out}


@pytest.mark.parametrize(("method", "path", "body", "answer"), WRITES, ids=[f"{way[0]} {way[1]}" for way in WRITES])
async def test_only_admins_may_act(
    method: str, path: str, body: Any, answer: int, people: People, client: httpx.AsyncClient
) -> None:
    said = {
        "nobody": (await client.request(method, path, json=body)).status_code,
        "user": (await of(people.user, path).request(method, path, json=body)).status_code,
        "auditor": (await of(people.auditor, path).request(method, path, json=body)).status_code,
        "admin": (await of(people.admin, path).request(method, path, json=body)).status_code,
    }
    signed_out = 401 if path.startswith("/api/") else 303
    assert said == {"admin": answer, "auditor": 403, "user": 403, "nobody": signed_out}


async def test_a_route_for_holders_of_our_key_is_open_to_no_role(people: People, client: httpx.AsyncClient) -> None:
    _, path = KEYED
    asked = [people.admin.client, people.auditor.client, people.user.client, client]
    assert [(await each.get(path)).status_code for each in asked] == [403] * 4


def test_no_route_is_missing_from_the_matrix(app: FastAPI) -> None:
    tried = {("GET", path.partition("?")[0]) for path, _ in READS} | {(method, path) for method, path, _, _ in WRITES}
    tried.add(KEYED)
    for router in (
        api.router,
        pages.router,
        doctor_api.router,
        doctor_pages.router,
        storage_api.router,
        storage_pages.router,
    ):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for method in route.methods or ():
                assert any(method == way and route.path_regex.fullmatch(path) for way, path in tried), route.path


async def test_the_refusal_has_the_contracts_code(people: People) -> None:
    answer = await people.user.client.get("/api/admin/queues")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


async def test_the_menu_leads_to_the_queue_only_where_it_is_open(people: People) -> None:
    for person, shown in ((people.admin, True), (people.auditor, True), (people.user, False)):
        assert ('href="/admin/queue"' in (await person.browser.get("/dashboard")).text) is shown


async def test_an_auditor_sees_no_button_that_would_be_refused(people: People) -> None:
    page = (await people.auditor.browser.get("/admin/queue")).text
    assert "hx-post" not in page.partition("<main")[2]
    assert "data-bulk-action" not in page


# --- giving roles ----------------------------------------------------------------------------------------------------


async def test_an_admin_gives_and_takes_roles(people: People) -> None:
    path = f"/api/admin/users/{people.user.id}"
    given = await people.admin.client.patch(path, json={"roles": ["auditor"]})
    assert (given.status_code, given.json()["roles"]) == (200, ["auditor"])
    assert (await people.user.client.get("/api/admin/workers")).status_code == 200
    taken = await people.admin.client.patch(path, json={"roles": []})
    assert taken.json()["roles"] == []
    assert (await people.user.client.get("/api/admin/workers")).status_code == 403
    async with transaction() as session:
        entries = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    assert [(entry.action, entry.detail["before"], entry.detail["after"]) for entry in entries] == [
        ("user.roles", ["coach_pro_plus"], ["auditor"]),
        ("user.roles", ["auditor"], []),
    ]
    assert {entry.actor_email for entry in entries} == {people.admin.email}


async def test_the_last_admin_keeps_the_role(people: People) -> None:
    path = f"/api/admin/users/{people.admin.id}"
    refused = await people.admin.client.patch(path, json={"roles": ["auditor"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "invalid_state")
    await give_role(people.auditor, "admin")
    assert (await people.admin.client.patch(path, json={"roles": ["auditor"]})).status_code == 200
    assert (await people.admin.client.patch(path, json={"roles": ["admin"]})).status_code == 403


async def test_two_admins_cannot_take_the_role_from_each_other_at_once(make_user: MakeUser) -> None:
    first, second = await make_user(), await make_user()
    await give_role(second, "admin")
    answers = await asyncio.gather(
        first.client.patch(f"/api/admin/users/{second.id}", json={"roles": []}),
        second.client.patch(f"/api/admin/users/{first.id}", json={"roles": []}),
    )
    assert sorted(answer.status_code for answer in answers) in ([200, 403], [200, 409])


async def test_an_account_is_found_by_its_whole_address_to_give_it_roles(people: People) -> None:
    found = await people.admin.client.get("/api/admin/users", params={"email": people.user.email.upper()})
    assert [user["id"] for user in found.json()["users"]] == [people.user.id]
    part = await people.admin.client.get("/api/admin/users", params={"email": people.user.email[:6]})
    assert part.json() == {"users": []}
    assert (await people.admin.client.get("/api/admin/users")).status_code == 422


@pytest.mark.parametrize("roles", [["king"], "admin", None, [1], ["admin"] * 11])
async def test_a_role_that_does_not_exist_is_refused(roles: Any, people: People) -> None:
    answer = await people.admin.client.patch(f"/api/admin/users/{people.user.id}", json={"roles": roles})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "validation_failed")
