"""The Python client against real processes: accounts, keys, projects, the library, jobs, webhooks, limits."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from backend.config import settings
from dailies_client import (
    AsyncClient,
    Client,
    Forbidden,
    InvalidCredentials,
    InvalidState,
    Job,
    NotFound,
    RateLimited,
    SessionEnded,
    SignatureError,
    Tokens,
    Unauthenticated,
    UrlNotAllowed,
    ValidationFailed,
    verify_webhook,
)
from dailies_client._drivers import _SyncScope
from tests.clients.conftest import PASSWORD, Receiver, new_email
from tests.conftest import Live

#: What one key may ask in a minute.
KEY_LIMIT = 25
OTHER_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def live_settings(receiver: Receiver) -> dict[str, str]:
    return {**receiver.allowed, "KEY_REQUESTS_PER_MINUTE": str(KEY_LIMIT)}


@pytest.fixture
def project_id(person: Client) -> str:
    return person.projects.list()[0].id


@pytest.fixture
def robot(live: Live, person: Client, project_id: str) -> Iterator[Client]:
    """A program with a key."""
    key = person.keys.create(project_id, "Robot", ["read", "write"])
    with Client(live.url, api_key=key.key) as client:
        yield client


def test_somebody_registers_leaves_and_comes_back(live: Live, clean: None) -> None:
    email, kept = new_email(), list[Tokens | None]()
    with Client(live.url, on_tokens=kept.append) as client:
        with pytest.raises(Unauthenticated):
            client.me()
        assert client.register(email, PASSWORD, name="Ada").name == "Ada"
        assert client.me().email == email
        assert kept == [client.tokens]
        with Client(live.url, tokens=client.tokens) as elsewhere:
            assert elsewhere.me().email == email
        client.logout()
        assert kept[-1] is client.tokens is None
        with pytest.raises((SessionEnded, Unauthenticated)), Client(live.url, tokens=kept[0]) as late:
            late.me()
        with pytest.raises(InvalidCredentials):
            client.login(email, "not the password")
        assert client.login(email, PASSWORD).email == email


def test_a_token_that_has_ended_is_renewed_and_the_new_one_kept(live: Live, person: Client) -> None:
    tokens = person.tokens
    assert tokens is not None
    kept: list[Tokens | None] = []
    old = Tokens(tokens.token, tokens.refresh_token, datetime.now(UTC) - timedelta(minutes=1))
    with Client(live.url, tokens=old, on_tokens=kept.append) as client:
        assert client.projects.list()
        assert len(kept) == 1
        assert client.tokens is kept[0]
    unreadable = Tokens("not a token", tokens.refresh_token, datetime.now(UTC) + timedelta(minutes=5))
    with Client(live.url, tokens=unreadable) as client, pytest.raises(SessionEnded) as reused:
        client.me()
    assert reused.value.code == "refresh_reused"


def test_the_library_is_gone_through_page_by_page(person: Client, clip: Path) -> None:
    videos = [person.videos.upload(clip, title=f"Harbour {number}") for number in range(3)]
    for video in videos:
        assert person.videos.wait(video.id, timeout=120).status == "completed"
    assert [each.title for each in person.videos.list(sort="title")] == ["Harbour 0", "Harbour 1", "Harbour 2"]
    assert [each.id for each in person.videos.list(q="harbour 1", status="completed")] == [videos[1].id]
    pages = person.videos._api.pages(type(videos[0]), "/api/videos", "videos", {"sort": "title", "limit": 2})
    assert [each.title for each in person.videos._driver.iterate(pages)] == ["Harbour 0", "Harbour 1", "Harbour 2"]

    changed = person.videos.update(videos[0].id, title="The quay")
    assert (changed.title, changed.description) == ("The quay", "")
    with pytest.raises(ValidationFailed) as wrong:
        person.videos.update(videos[0].id, title="x" * 201)
    assert list(wrong.value.fields) == ["title"]
    with pytest.raises(InvalidState):
        person.videos.retry(videos[0].id)
    assert person.videos.playback_url(videos[0].id).url.startswith("http")
    second = person.projects.create("Second")
    assert person.videos.move(videos[0].id, second.id).project_id == second.id
    person.videos.delete(videos[0].id)
    with pytest.raises(NotFound) as gone:
        person.videos.get(videos[0].id)
    assert gone.value.request_id


def test_a_job_is_followed_live_to_its_end(person: Client, clip: Path) -> None:
    video = person.videos.upload(clip)
    assert video.job_id is not None
    told: list[Job] = []
    job = person.jobs.wait(video.job_id, timeout=120, on_progress=told.append)
    assert (job.status, job.progress, job.video_id) == ("completed", 100, video.id)
    assert told[-1] == job
    assert [each.progress for each in told] == sorted(each.progress for each in told)
    assert [each.status for each in person.jobs.follow(video.job_id)] == ["completed"]  # coming late loses nothing
    assert video.job_id in [each.id for each in person.jobs.list(video_id=video.id)]
    assert person.jobs.get(video.job_id).is_final
    assert person.videos.wait(video.id, timeout=120).playable
    with pytest.raises(InvalidState):
        person.jobs.cancel(video.job_id)


def test_a_file_that_is_no_video_fails_with_its_reason(person: Client, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a film" * 100)
    video = person.videos.wait(person.videos.upload(broken).id, timeout=120)
    assert (video.status, video.error.code if video.error else None) == ("failed", "corrupt_media")


def test_a_key_reaches_its_project_and_ends_when_it_is_revoked(
    live: Live, person: Client, project_id: str, robot: Client, clip: Path
) -> None:
    video = robot.videos.upload(clip)
    assert video.project_id == project_id
    assert [each.id for each in robot.projects.list()] == [project_id]
    for refused in (robot.me, lambda: robot.keys.create(project_id, "Second", ["read"])):
        with pytest.raises(Forbidden):
            refused()
    with pytest.raises(ValueError, match="key"):
        robot.login("a@example.org", "b")

    (key,) = person.keys.list(project_id)
    successor = person.keys.rotate(project_id, key.id, overlap_seconds=3600)
    assert successor.key not in repr(successor)
    with Client(live.url, api_key=successor.key) as next_robot:
        assert next_robot.videos.get(video.id) == robot.videos.get(video.id)
    person.keys.revoke(project_id, key.id)
    with pytest.raises(Unauthenticated) as ended:
        robot.videos.get(video.id)
    assert (ended.value.code, ended.value.status) == ("unauthenticated", 401)
    assert {each.state for each in person.keys.list(project_id)} == {"active", "revoked"}


def test_projects_are_made_renamed_and_deleted(person: Client) -> None:
    made = person.projects.create("Spring film")
    assert person.projects.rename(made.id, "Autumn film").name == "Autumn film"
    assert [each.name for each in person.projects.list()][1:] == ["Autumn film"]
    with pytest.raises(UrlNotAllowed):
        person.webhooks.create(made.id, "http://10.0.0.1/hook", ["video.*"])
    person.projects.delete(made.id)
    with pytest.raises(NotFound):
        person.projects.get(made.id)


def test_what_the_platform_sends_is_verified_while_its_secret_is_replaced(person: Client, receiver: Receiver) -> None:
    project = person.projects.list()[0]
    webhook = person.webhooks.create(project.id, receiver.url, ["video.*"], description="For the archive")
    assert webhook.secret not in repr(webhook)
    newer = person.webhooks.rotate_secret(project.id, webhook.id, overlap_seconds=3600)
    receiver.came.clear()
    sent = person.webhooks.test(project.id, webhook.id)
    assert receiver.came.wait(60)
    headers, body = receiver.received[-1]
    for secret in (webhook.secret, newer.secret, [OTHER_SECRET, newer.secret]):
        event = verify_webhook(body, headers, secret)
        assert (event.id, event.type) == (sent.event_id, "webhook.test")
    with pytest.raises(SignatureError):
        verify_webhook(body, headers, OTHER_SECRET)

    deadline = time.monotonic() + 30
    while (delivery := person.webhooks.delivery(project.id, sent.id)).state != "delivered":
        assert time.monotonic() < deadline, delivery
        time.sleep(0.1)
    assert [(each.status, each.error) for each in delivery.attempts] == [(204, None)]
    assert delivery.body == json.loads(body)
    receiver.came.clear()
    person.webhooks.redeliver(project.id, sent.id)
    assert receiver.came.wait(60)
    assert verify_webhook(receiver.received[-1][1], receiver.received[-1][0], newer.secret).id == sent.event_id

    assert [each.id for each in person.webhooks.deliveries(project.id, webhook.id, type="webhook.test")] == [sent.id]
    assert person.webhooks.update(project.id, webhook.id, enabled=False).enabled is False
    assert person.webhooks.get(project.id, webhook.id).url == receiver.url
    person.webhooks.delete(project.id, webhook.id)
    assert person.webhooks.list(project.id) == []


async def test_the_asynchronous_client_says_the_same_of_what_is_not_there(live: Live, person: Client) -> None:
    async with AsyncClient(live.url, tokens=person.tokens) as client:
        with pytest.raises(NotFound) as missing:
            await client.videos.get("00000000-0000-4000-8000-000000000000")
        assert missing.value.code == "not_found"
        assert [each.id async for each in client.jobs.list()] == []
        assert (await client.projects.list())[0].personal


def test_a_limit_is_told_and_waited_for(
    live: Live, person: Client, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = person.keys.create(project_id, "Busy", ["read"])
    with Client(live.url, api_key=key.key, max_wait=0) as hasty, pytest.raises(RateLimited) as limited:
        for _ in range(20 * KEY_LIMIT):  # the first count for the address alone, and on a slow day a minute passes
            hasty.projects.list()
    assert limited.value.retry_after is not None
    assert 0 < limited.value.retry_after <= 120

    waits: list[float] = []

    def the_minute_passes(scope: object, seconds: float) -> None:
        waits.append(seconds)
        with redis.Redis.from_url(settings.redis_url.get_secret_value()) as server:
            server.delete(f"limits:key:{key.id}")

    monkeypatch.setattr(_SyncScope, "sleep", the_minute_passes)
    with Client(live.url, api_key=key.key, max_wait=120) as patient:
        for _ in range(20 * KEY_LIMIT):  # what the other was told may be over by now
            assert patient.projects.list()[0].id == project_id
            if waits:
                break
    assert len(waits) == 1
    assert 1 <= waits[0] <= 120
