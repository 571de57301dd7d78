"""Streams end with the access of whoever follows them."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from sqlalchemy import func, update

from backend.accounts.models import LoginSession
from backend.core.db import transaction
from backend.core.events import Closed
from backend.jobs import live
from backend.orgs import credentials, streams
from backend.orgs.access import Actor, Proof, _actor_of_key, reload
from backend.orgs.streams import Follower
from backend.videos.live import library_events
from tests.conftest import MakeUser, Person
from tests.jobs.conftest import Declare, Jobs
from tests.orgs.acting import actor_of, join, key, personal, project


async def test_a_follower_is_told_when_access_to_the_project_ends(user: Person, other: Person) -> None:
    project_id = await project(user)
    await join(user, other, f"/api/projects/{project_id}", "viewer")
    follower = Follower(await actor_of(other), uuid.UUID(project_id))
    everything = Follower(await actor_of(other))
    assert (await follower.look()).user_id == uuid.UUID(other.id)
    await everything.look()
    await user.client.delete(f"/api/projects/{project_id}/members/{other.id}")
    for each in (follower, everything):
        with pytest.raises(Closed):
            await each.look()


async def actor_of_key(text: str) -> Actor:
    async with transaction() as session:
        return await _actor_of_key(session, text)


async def test_a_follower_with_a_key_is_told_when_the_key_ends(user: Person) -> None:
    project_id = await personal(user)
    new = await key(user, project_id)
    follower = Follower(await actor_of_key(new["key"]), uuid.UUID(project_id))
    assert (await follower.look()).via == "key"
    await user.client.delete(f"/api/projects/{project_id}/api-keys/{new['id']}")
    with pytest.raises(Closed):
        await follower.look()
    with pytest.raises(credentials.KeyRefused):
        await actor_of_key(new["key"])


async def test_the_streams_of_one_login_look_once_for_all_and_end_together(
    user: Person, other: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = await project(user)
    await join(user, other, f"/api/projects/{project_id}", "viewer")
    actor = await actor_of(other)
    followers = [Follower(actor, uuid.UUID(project_id)) for _ in range(5)]
    looks = 0
    look = streams._actors.get

    async def counted(proof: Proof) -> Actor | None:
        nonlocal looks
        looks += 1
        return await look(proof)

    monkeypatch.setattr(streams._actors, "get", counted)
    await asyncio.gather(*(each.look_sometimes() for each in followers))
    assert looks == 0, "it was recognised just now"
    await user.client.delete(f"/api/projects/{project_id}/members/{other.id}")
    with pytest.raises(Closed):
        await followers[0].look()
    for each in followers[1:]:
        with pytest.raises(Closed):
            await each.look_sometimes()
    assert looks == 1


async def test_who_is_told_something_often_is_looked_at_ahead_of_the_messages(
    user: Person, other: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_SECONDS", 600.0)  # no message looks by itself
    project_id = await project(user)
    await join(user, other, f"/api/projects/{project_id}", "viewer")
    follower, still_in = [Follower(await actor_of(each), uuid.UUID(project_id)) for each in (other, user)]
    await user.client.delete(f"/api/projects/{project_id}/members/{other.id}")
    with pytest.raises(Closed):
        async with asyncio.timeout(60):
            while True:
                await still_in.look_sometimes()
                await follower.look_sometimes()
                await asyncio.sleep(0.05)
    await still_in.look_sometimes()


async def test_people_who_are_looked_at_together_stay_each_what_they_are(user: Person, make_user: MakeUser) -> None:
    people = [user, *[await make_user() for _ in range(4)]]
    actors = [await actor_of(each) for each in people]
    gone = actors[2]
    async with transaction() as session:
        await session.execute(
            update(LoginSession).where(LoginSession.id == gone.session_id).values(revoked_at=func.now())
        )
        seen = await reload(session, [actor.proof for actor in actors])
    assert gone.proof not in seen
    left_in = [actor for actor in actors if actor is not gone]
    assert [(seen[each.proof].user_id, seen[each.proof].project_ids) for each in left_in] == [
        (each.user_id, each.project_ids) for each in left_in
    ]


async def test_a_library_that_gets_another_project_is_opened_anew(user: Person) -> None:
    follower = Follower(await actor_of(user))
    await project(user)
    with pytest.raises(Closed):
        await follower.look()


async def test_a_jobs_stream_ends_at_the_next_message_after_its_key_was_revoked(
    app: FastAPI, user: Person, jobs: Jobs, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.0)
    project_id = await personal(user)
    new = await key(user, project_id)
    job = await jobs.start(declare())
    follower = Follower(await actor_of_key(new["key"]), job.project_id)
    events = live.follow(job.id, follower=follower)
    assert (await anext(events)).event == "progress"
    await user.client.delete(f"/api/projects/{project_id}/api-keys/{new['id']}")
    await jobs.claimed()
    assert await left(events) == []


async def test_a_librarys_stream_ends_for_who_was_put_out(user: Person, other: Person) -> None:
    project_id = await project(user)
    await join(user, other, f"/api/projects/{project_id}", "viewer")
    actor = await actor_of(other)
    await user.client.delete(f"/api/projects/{project_id}/members/{other.id}")
    assert await left(library_events(actor=actor, seen=None)) == []


async def left(events: AsyncIterator[object]) -> list[object]:
    async with asyncio.timeout(20):
        return [event async for event in events]
