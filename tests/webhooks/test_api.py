"""Webhooks are made, changed, tested and looked at by those who manage the project, and by nobody else."""

import asyncio
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from backend.core.db import transaction
from backend.orgs.access import Role
from backend.orgs.models import AuditEntry, ProjectMember
from backend.webhooks import courier, deliveries, service
from backend.webhooks.models import DeliveryState, EventType, WebhookEndpoint
from tests.conftest import MakeUser, Person
from tests.webhooks.conftest import Hooks, Receiver, answer, project_of

NOWHERE = uuid.uuid4()


async def actions(hooks: Hooks) -> list[str]:
    async with transaction() as session:
        mine = select(AuditEntry.action).where(AuditEntry.project_id == hooks.project_id)
        return list(await session.scalars(mine.where(AuditEntry.action.like("webhook.%")).order_by(AuditEntry.id)))


async def test_a_webhook_is_made_and_its_secret_shown_once(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url(), "video.*", "job.failed", "video.*")
    assert made["secret"].startswith("whsec_")
    assert (made["events"], made["enabled"], made["project_id"]) == (
        ["video.*", "job.failed"],
        True,
        str(hooks.project_id),
    )
    listed = (await hooks.person.client.get(f"{hooks.base}/webhooks")).json()["webhooks"]
    one = (await hooks.person.client.get(f"{hooks.base}/webhooks/{made['id']}")).json()
    assert listed == [one]
    assert one == {name: value for name, value in made.items() if name != "secret"}
    async with transaction() as session:
        stored = await session.scalar(select(WebhookEndpoint.secret))
    assert stored is not None
    assert made["secret"].removeprefix("whsec_").encode() not in stored
    assert await actions(hooks) == ["webhook.created"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"events": []}, "events"),
        ({"events": ["video.exploded"]}, "events.0"),
        ({"events": ["*"]}, "events.0"),
        ({"events": "video.*"}, "events"),
        ({"events": ["video.*"] * 51}, "events"),
        ({"url": ""}, "url"),
        ({"url": "http://exam\0ple.com"}, "url"),
        ({"url": None}, "url"),
        ({"description": "x" * 201}, "description"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_what_makes_no_webhook_is_refused(hooks: Hooks, changes: dict[str, Any], field: str) -> None:
    body = {"url": "https://example.com/", "events": ["video.*"], **changes}
    refused = await hooks.person.client.post(f"{hooks.base}/webhooks", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_failed")
    assert list(refused.json()["error"]["fields"]) == [field]


async def test_a_project_has_no_more_than_so_many(
    hooks: Hooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_ENDPOINTS", 2)
    await hooks.make(receiver.url())
    await hooks.make(receiver.url())
    body = {"url": receiver.url(), "events": ["video.*"]}
    refused = await hooks.person.client.post(f"{hooks.base}/webhooks", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "quota_exceeded")


async def test_a_webhook_is_changed_switched_off_and_removed(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url())
    path = f"{hooks.base}/webhooks/{made['id']}"
    await hooks.emit()
    changed = await hooks.person.client.patch(path, json={"url": receiver.url("/new"), "description": "Moved"})
    assert (changed.status_code, changed.json()["description"]) == (200, "Moved")
    await hooks.deliver()
    assert [each.path for each in receiver.received] == ["/new"], "what waits goes to the new address"
    await hooks.emit()
    off = (await hooks.person.client.patch(path, json={"enabled": False})).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "It was switched off by hand.")
    assert [row.state for row in await hooks.rows()] == ["delivered", "cancelled"]
    assert await hooks.emit() == 0
    empty = await hooks.person.client.patch(path, json={})
    assert (empty.status_code, empty.json()["enabled"]) == (200, False)
    removed = await hooks.person.client.delete(path)
    assert (removed.status_code, (await hooks.person.client.get(path)).status_code) == (204, 404)
    assert await hooks.rows() == []
    done = ["webhook.created", "webhook.changed", "webhook.changed", "webhook.changed", "webhook.deleted"]
    assert await actions(hooks) == done


async def test_a_secret_is_replaced(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url())
    path = f"{hooks.base}/webhooks/{made['id']}/secret"
    for body, kept in ((None, True), ({}, True), ({"overlap_seconds": 0}, False), ({"overlap_seconds": 604_800}, True)):
        replaced = (await hooks.person.client.post(path, json=body)).json()
        assert replaced["secret"] != made["secret"]
        assert (replaced["previous_secret_until"] is not None) is kept
    for nonsense in ("yes", 1, None):
        refused = await hooks.person.client.patch(f"{hooks.base}/webhooks/{made['id']}", json={"enabled": nonsense})
        assert refused.status_code == 422, nonsense
    for wrong in (-1, 604_801, "60", 1.5, None):
        refused = await hooks.person.client.post(path, json={"overlap_seconds": wrong})
        assert refused.status_code == 422


async def test_a_test_event_is_sent_whatever_is_asked_for(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url(), "job.failed")
    sent = await hooks.person.client.post(f"{hooks.base}/webhooks/{made['id']}/test")
    assert (sent.status_code, sent.json()["type"], sent.json()["state"]) == (202, "webhook.test", "pending")
    await hooks.deliver()
    shown = (await hooks.person.client.get(f"{hooks.base}/deliveries/{sent.json()['id']}")).json()
    assert (shown["state"], shown["status"], len(shown["attempts"])) == ("delivered", 204, 1)
    assert shown["body"]["type"] == "webhook.test"
    await hooks.person.client.patch(f"{hooks.base}/webhooks/{made['id']}", json={"enabled": False})
    receiver.says(answer(500))
    once = await hooks.person.client.post(f"{hooks.base}/webhooks/{made['id']}/test")
    await hooks.deliver()
    shown = (await hooks.person.client.get(f"{hooks.base}/deliveries/{once.json()['id']}")).json()
    assert (shown["state"], len(shown["attempts"])) == ("dead", 1)


async def test_deliveries_are_listed_in_pages(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.make(receiver.url(), "video.*", "job.*")
    for number in range(5):
        await hooks.emit(EventType.JOB_FAILED if number == 2 else EventType.VIDEO_COMPLETED, number=number)
    await hooks.deliver()
    path = f"{hooks.base}/webhooks/{made['id']}/deliveries"
    whole = (await hooks.person.client.get(path)).json()
    assert whole["pagination"] == {"page": 1, "limit": 20, "total": 5, "total_pages": 1, "next_cursor": None}
    ids = [each["id"] for each in whole["deliveries"]]
    first = (await hooks.person.client.get(path, params={"limit": 3})).json()
    rest = (
        await hooks.person.client.get(path, params={"limit": 3, "cursor": first["pagination"]["next_cursor"]})
    ).json()
    assert [each["id"] for each in first["deliveries"] + rest["deliveries"]] == ids
    by_page = (await hooks.person.client.get(path, params={"limit": 3, "page": 2})).json()
    assert by_page["deliveries"] == rest["deliveries"]
    failed = (await hooks.person.client.get(path, params={"type": "job.failed", "state": "delivered"})).json()
    assert [each["type"] for each in failed["deliveries"]] == ["job.failed"]
    assert (await hooks.person.client.get(path, params={"state": "dead"})).json()["deliveries"] == []
    assert (await hooks.person.client.get(path, params={"cursor": "x"})).status_code == 400
    assert (await hooks.person.client.get(path, params={"state": "x"})).status_code == 422


async def test_a_delivery_is_sent_again_under_its_id(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.make(receiver.url())
    await hooks.emit(number=1)
    [row] = await hooks.deliver()
    path = f"{hooks.base}/deliveries/{row.id}/redeliver"
    again = await hooks.person.client.post(path)
    assert (again.status_code, again.json()["state"], again.json()["attempt"]) == (202, "pending", 0)
    receiver.says(answer(500))
    await hooks.deliver()
    assert (await hooks.person.client.post(path)).status_code == 202, "one that waits is sent at once"
    receiver.says(answer(204))
    [row] = await hooks.deliver()
    assert (row.state, row.attempt, len(await hooks.attempts(row.id))) == ("delivered", 1, 3)
    assert len({each.id for each in receiver.received}) == 1
    assert len({each.body for each in receiver.received}) == 1
    await hooks.change(state=DeliveryState.DELIVERING, lease_token=uuid.uuid4())
    busy = await hooks.person.client.post(path)
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "invalid_state")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.EDITOR, Role.ADMIN, None])
async def test_only_who_manages_a_project_has_to_do_with_its_webhooks(
    hooks: Hooks, receiver: Receiver, make_user: MakeUser, role: Role | None
) -> None:
    other = await make_user()
    if role is not None:
        async with transaction() as session:
            member = ProjectMember(project_id=hooks.project_id, user_id=uuid.UUID(other.id), role=role)
            session.add(member)
    made = await hooks.make(receiver.url())
    await hooks.emit()
    [row] = await hooks.rows()
    webhook, delivery = f"{hooks.base}/webhooks/{made['id']}", f"{hooks.base}/deliveries/{row.id}"
    body = {"url": receiver.url(), "events": ["video.*"]}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", f"{hooks.base}/webhooks", {}),
        ("POST", f"{hooks.base}/webhooks", {"json": body}),
        ("GET", webhook, {}),
        ("PATCH", webhook, {"json": {"description": "x"}}),
        ("POST", f"{webhook}/secret", {"json": {}}),
        ("POST", f"{webhook}/test", {}),
        ("GET", f"{webhook}/deliveries", {}),
        ("GET", delivery, {}),
        ("POST", f"{delivery}/redeliver", {}),
        ("DELETE", webhook, {}),
    ]
    statuses = [(await other.client.request(method, url, **options)).status_code for method, url, options in calls]
    expected = {None: {404}, Role.VIEWER: {403}, Role.EDITOR: {403}, Role.ADMIN: {200, 201, 202, 204}}[role]
    assert set(statuses) == expected
    assert receiver.received == []


async def test_a_webhook_of_one_project_is_not_found_in_another(
    hooks: Hooks, receiver: Receiver, other: Person
) -> None:
    theirs = Hooks(other, uuid.UUID(await project_of(other)))
    made = await theirs.make(receiver.url())
    await theirs.emit()
    [row] = await theirs.rows()
    async with transaction() as session:  # who is in both
        session.add(ProjectMember(project_id=theirs.project_id, user_id=uuid.UUID(hooks.person.id), role=Role.OWNER))
    for path in (f"webhooks/{made['id']}", f"webhooks/{made['id']}/deliveries", f"deliveries/{row.id}"):
        assert (await hooks.person.client.get(f"{theirs.base}/{path}")).status_code == 200
        answers = [
            await hooks.person.client.get(f"{base}/{path}", headers={"X-Request-Id": "the-same-for-both"})
            for base in (hooks.base, f"/api/projects/{NOWHERE}")
        ]
        assert [each.status_code for each in answers] == [404, 404]
        assert answers[0].text == answers[1].text


async def test_of_many_made_at_once_no_more_are_made_than_a_project_may_have(hooks: Hooks, receiver: Receiver) -> None:
    body = {"url": receiver.url(), "events": ["video.*"]}
    for _ in range(service.MAX_ENDPOINTS - 2):
        await hooks.make(receiver.url())
    answers = await asyncio.gather(*(hooks.person.client.post(f"{hooks.base}/webhooks", json=body) for _ in range(10)))
    assert sorted(each.status_code for each in answers) == [201] * 2 + [409] * 8
    assert len((await hooks.person.client.get(f"{hooks.base}/webhooks")).json()["webhooks"]) == service.MAX_ENDPOINTS


async def test_a_deleted_project_sends_nothing_more_whenever_its_rows_go(user: Person, receiver: Receiver) -> None:
    made = (await user.client.post("/api/projects", json={"name": "Old"})).json()
    hooks = Hooks(user, uuid.UUID(made["id"]))
    for _ in range(2):
        await hooks.make(receiver.url())
    await hooks.emit()
    async with transaction() as session:  # one is on its way in this moment
        [taken] = await deliveries.take(session, most=1)
    assert (await user.client.delete(hooks.base)).status_code == 204
    assert {row.state for row in await hooks.rows()} == {"delivering", "cancelled"}
    receiver.says(answer(500))
    outcome = await courier.send(taken)
    async with transaction() as session:
        await deliveries.settle(session, taken, outcome)
    assert await hooks.emit() == 0, "what happens while it is removed is told to nobody"
    assert {row.state for row in await hooks.deliver()} == {"dead", "cancelled"}
    assert len(receiver.received) == 1


async def test_a_webhook_that_is_removed_while_it_is_used_is_not_found_and_no_accident(
    hooks: Hooks, receiver: Receiver
) -> None:
    for _ in range(3):
        path = f"{hooks.base}/webhooks/{(await hooks.make(receiver.url()))['id']}"
        client = hooks.person.client
        answers = await asyncio.gather(
            *(client.post(f"{path}/test") for _ in range(5)),
            client.delete(path),
            *(client.post(f"{path}/test") for _ in range(5)),
            *(client.patch(path, json={"enabled": bool(number % 2)}) for number in range(4)),
            *(client.post(f"{path}/secret", json={}) for _ in range(3)),
        )
        assert {each.status_code for each in answers} <= {200, 202, 204, 404}
