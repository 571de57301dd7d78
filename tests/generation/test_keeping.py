"""What came of a generation belongs somewhere: it moves with its video, goes with its project, and is no stray."""

import asyncio
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import httpx
from sqlalchemy import delete, func, select, update

from backend.core.db import transaction
from backend.core.storage import storage
from backend.generation.keeping import filename_of, title_of
from backend.generation.models import Generation
from backend.local.stack import Stack
from backend.videos import ledger
from backend.videos.models import StoredObject, VideoCount
from backend.videos.reconcile import Reconciliation
from tests.conftest import ROOT, environment
from tests.generation.scripted import Studio
from tests.generation.tasking import make_due, run_queue
from tests.orgs.acting import project


async def old_ledger() -> None:
    async with transaction() as session:
        await session.execute(update(StoredObject).values(recorded_at=func.now() - timedelta(days=30)))


async def findings(prefix: str, *, fix: bool = False) -> list[str]:
    return [each.key async for each in Reconciliation(prefix=prefix, fix=fix).findings()]


async def test_whoever_compares_storage_and_records_leaves_results_and_pictures_alone(
    studio: Studio, picture_bytes: bytes
) -> None:
    body = {"content_type": "image/jpeg", "size": len(picture_bytes)}
    place = (await studio.person.client.post("/api/generations/images", json=body)).json()
    async with httpx.AsyncClient() as anybody:
        await anybody.put(place["upload_url"], content=picture_bytes, headers=place["headers"])
    made = [await studio.make(kind=kind, images=[{"image_id": place["image_id"]}]) for kind in ("video", "image")]
    await old_ledger()
    prefix = f"projects/{made[0]['project_id']}/"
    assert await findings(prefix, fix=True) == []
    assert len(await storage.list_keys(prefix)) == 3


async def test_the_command_line_leaves_them_alone_too(studio: Studio, stack: Stack) -> None:
    row = await studio.row(await studio.make(kind="image"))
    await old_ledger()
    command = [sys.executable, "-m", "backend.cli", "reconcile", "--all"]
    told = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment(stack), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    listed, summary = await told.communicate()
    assert row.s3_key is not None
    assert (b" findings are left" in summary, row.s3_key in listed.decode()) == (True, False)


async def test_records_that_were_lost_are_written_anew(studio: Studio) -> None:
    made = await studio.make(kind="image")
    row = await studio.row(made)
    async with transaction() as session:
        await session.execute(delete(StoredObject))
    run = Reconciliation(prefix=f"projects/{made['project_id']}/", fix=True)
    assert [each.key async for each in run.findings()] == [row.s3_key]
    assert row.s3_key is not None
    assert await storage.head(row.s3_key) is not None, "young: looked at, and not touched"


async def test_a_video_that_moves_takes_its_generation_along(studio: Studio) -> None:
    made = await studio.make()
    await run_queue("media")
    there = await project(studio.person)
    moved = await studio.person.client.post(f"/api/videos/{made['video_id']}/move", json={"project_id": there})
    assert moved.status_code == 200, moved.text
    found = await studio.get(made)
    assert (found["project_id"], found["status"], found["video_id"]) == (there, "completed", made["video_id"])
    job = (await studio.person.client.get(f"/api/jobs/{made['job_id']}")).json()
    assert job["project_id"] == there


async def test_a_deleted_project_takes_all_along(studio: Studio) -> None:
    place = await project(studio.person)
    made = [await studio.make(kind=kind, project_id=place) for kind in ("video", "image")]
    waiting = await studio.start(project_id=place)
    assert (await studio.person.client.delete(f"/api/projects/{place}")).status_code == 204
    for _ in range(3):
        await make_due("purge_project")
        await run_queue("default")
    async with transaction() as session:
        ids = [uuid.UUID(each["id"]) for each in (*made, waiting)]
        assert await session.scalar(select(func.count()).where(Generation.id.in_(ids))) == 0
    await ledger.remove_buried()
    assert await storage.list_keys(f"projects/{place}/") == []


async def test_a_finished_video_counts_for_its_project(studio: Studio) -> None:
    made = await studio.make()
    async with transaction() as session:
        counted = await session.scalar(
            select(func.sum(VideoCount.size_bytes)).where(VideoCount.project_id == uuid.UUID(made["project_id"]))
        )
    assert counted == made["size_bytes"]


def test_titles_and_names_are_the_words_of_the_prompt() -> None:
    assert title_of("  A   harbour\nat dawn ") == "A harbour at dawn"
    assert title_of("word " * 30) == f"{'word ' * 15}word…"[: len(title_of("word " * 30))]
    assert len(title_of("x" * 500)) == 81
    generation = Generation(id=uuid.uuid4(), kind="audio", prompt="Möwen, überall!  \u202e/../x")
    assert filename_of(generation) == "möwen-überall-x.mp3"
    assert filename_of(Generation(id=uuid.uuid4(), kind="image", prompt="…")) == "image.jpg"
    assert Path(filename_of(generation)).name == filename_of(generation)
