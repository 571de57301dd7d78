"""video_counts says at any moment what counting the videos would say."""

import asyncio
import uuid
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy import insert as sa_insert

from backend.core.db import transaction
from backend.orgs.models import Project
from backend.videos.models import Video, VideoCount
from tests.conftest import Person


async def counted() -> list[tuple[Any, ...]]:
    async with transaction() as session:
        return [
            tuple(row)
            for row in await session.execute(
                select(VideoCount.project_id, VideoCount.status, VideoCount.videos, VideoCount.size_bytes)
                .where(VideoCount.videos != 0)
                .order_by(VideoCount.project_id, VideoCount.status)
            )
        ]


async def real() -> list[tuple[Any, ...]]:
    async with transaction() as session:
        return [
            tuple(row)
            for row in await session.execute(
                select(Video.project_id, Video.status, func.count(), func.sum(Video.size_bytes))
                .where(Video.deleted_at.is_(None))
                .group_by(Video.project_id, Video.status)
                .order_by(Video.project_id, Video.status)
            )
        ]


async def project_of(user: Person) -> uuid.UUID:
    async with transaction() as session:
        return (await session.scalars(select(Project.id).where(Project.owner_id == uuid.UUID(user.id)))).one()


async def insert(project: uuid.UUID, count: int, status: str = "processing") -> list[uuid.UUID]:
    rows: list[dict[str, Any]] = [
        {
            "id": uuid.uuid4(),
            "project_id": project,
            "title": f"Video {number}",
            "filename": "a.mp4",
            "content_type": "video/mp4",
            "size_bytes": 100 + number,
            "s3_key": f"videos/{uuid.uuid4()}",
            "status": status,
        }
        for number in range(count)
    ]
    async with transaction() as session:
        await session.execute(sa_insert(Video), rows)
    return [row["id"] for row in rows]


async def test_counts_follow_every_kind_of_change(user: Person) -> None:
    project = await project_of(user)
    ids = await insert(project, 10)
    assert await counted() == await real() != []
    changes: list[Any] = [
        update(Video).where(Video.id.in_(ids[:4])).values(status="completed"),
        update(Video).where(Video.id == ids[0]).values(size_bytes=5000),
        update(Video).where(Video.id == ids[1]).values(title="Another name"),
        update(Video).where(Video.id == ids[2]).values(deleted_at=func.now()),
        update(Video).where(Video.id == ids[2]).values(deleted_at=None),
        update(Video).where(Video.id == ids[3]).values(deleted_at=func.now()),
        delete(Video).where(Video.id.in_(ids[3:6])),
        delete(Video),
    ]
    for change in changes:
        async with transaction() as session:
            await session.execute(change)
        assert await counted() == await real()


async def test_opposite_moves_at_once_neither_deadlock_nor_miscount(user: Person) -> None:
    project = await project_of(user)
    forth, back = await insert(project, 8), await insert(project, 8, "completed")

    async def move(video: uuid.UUID, status: str) -> None:
        async with transaction() as session:
            await session.execute(update(Video).where(Video.id == video).values(status=status))

    await asyncio.gather(*(move(video, "completed") for video in forth), *(move(video, "processing") for video in back))
    assert await counted() == await real()


async def test_a_deleted_project_takes_its_counts_with_it(user: Person) -> None:
    project = await project_of(user)
    await insert(project, 3)
    async with transaction() as session:
        await session.execute(delete(Project).where(Project.id == project))
    assert await counted() == await real() == []
