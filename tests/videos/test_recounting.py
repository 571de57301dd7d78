"""Counters that went wrong are put right, and those that are right stay so while videos come and go."""

import asyncio
import uuid

from sqlalchemy import delete, text, update

from backend.core.db import transaction
from backend.videos import recounting
from backend.videos.models import Video, VideoCount
from tests.conftest import Person
from tests.videos.test_counts import counted, insert, project_of, real


async def corrected() -> int:
    async with transaction() as session:
        return await recounting.corrected(session)


async def make_due() -> None:
    async with transaction() as session:
        await session.execute(text("UPDATE video_recounts SET due_at = now()"))


async def test_wrong_missing_and_superfluous_counters_are_put_right(user: Person) -> None:
    project = await project_of(user)
    await insert(project, 5)
    await insert(project, 3, "completed")
    async with transaction() as session:
        await session.execute(update(VideoCount).where(VideoCount.status == "processing").values(videos=99))
        await session.execute(delete(VideoCount).where(VideoCount.status == "completed"))
        session.add(VideoCount(project_id=project, status="failed", videos=2, size_bytes=7))
    await recounting.recount_due()
    assert await counted() == await real() != []
    assert await corrected() == 3


async def test_right_counters_are_left_alone(user: Person) -> None:
    await insert(await project_of(user), 5)
    before = await counted()
    await recounting.recount_due()
    assert await counted() == before
    assert await corrected() == 0


async def test_recounting_loses_nothing_that_happens_meanwhile(user: Person) -> None:
    project = await project_of(user)
    await insert(project, 5)
    over = asyncio.Event()

    async def come_and_go() -> None:
        for number in range(30):
            ids = await insert(project, 2)
            change = update(Video).where(Video.id == ids[0]).values(status="completed", size_bytes=number)
            for statement in (change, delete(Video).where(Video.id == ids[1])):
                async with transaction() as session:
                    await session.execute(statement)
        over.set()

    async def spoil_and_recount() -> int:
        spoilt = 0
        while not over.is_set():
            async with transaction() as session:
                spoil = update(VideoCount).where(VideoCount.status == "processing")
                await session.execute(spoil.values(videos=VideoCount.videos + 3))
            spoilt += 1
            await asyncio.gather(recounting.recount(project), recounting.recount(project))
        return spoilt

    _, spoilt = await asyncio.gather(come_and_go(), spoil_and_recount())
    assert spoilt
    assert await counted() == await real() != []


async def test_a_right_counter_is_not_touched_while_videos_are_made(user: Person) -> None:
    project = await project_of(user)

    async def make() -> None:
        for _ in range(20):
            await insert(project, 1)

    wrong, *_ = await asyncio.gather(_recount_often(project), make(), make())
    assert wrong == 0
    assert await counted() == await real() != []


async def _recount_often(project: uuid.UUID) -> int:
    return sum([await recounting.recount(project) for _ in range(20)])


async def test_a_pass_goes_over_all_projects_once(user: Person) -> None:
    project = await project_of(user)
    await insert(project, 1)
    await recounting.recount_due()
    async with transaction() as session:
        await session.execute(update(VideoCount).values(videos=50))
    await recounting.recount_due()
    assert await corrected() == 0, "the next pass is due tomorrow"
    await make_due()
    await recounting.recount_due()
    assert await counted() == await real()
    assert await corrected() == 1


async def test_a_project_that_is_gone_has_nothing_to_recount(user: Person) -> None:
    assert await recounting.recount(uuid.uuid4()) == 0
