"""What survives a worker's death, what is sent once, and what becomes of a result."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from backend.core.db import transaction
from backend.core.errors import StorageUnavailable
from backend.core.storage import storage
from backend.generation import engine
from backend.generation.models import Generation, Kind
from backend.generation.providers.base import Asset, Event, Failed, Progress, Queued, Remote, Spec, Submitting
from backend.jobs import running
from backend.jobs.models import Job, JobAttempt
from backend.videos.models import StoredObject, Video
from tests.generation.scripted import RESULT, SENT, SENT_BLINDLY, Offer, Scripted, Studio, lose_worker
from tests.generation.tasking import asset_bytes, jobs_of_kind, make_due, run_queue


async def interrupted(studio: Studio, scripted: Scripted, *script: object, **wish: str) -> dict[str, Any]:
    """A generation whose worker died after this much of its script."""
    scripted.scripts.append([*script, "stand still"])
    made = await studio.start(**wish)
    await lost_once(made, scripted.standing)
    return made


async def lost_once(made: dict[str, Any], standing: asyncio.Event) -> None:
    """Its worker begins it, and is taken for lost as soon as it stands still: then it may write nothing more."""
    runner = running.Runner(worker="doomed", queues=["generation"], slots=1)
    assert await runner.look()
    async with asyncio.timeout(30):
        await standing.wait()
        await lose_worker(made)
        for run in list(runner._runs.values()):
            run.stop("lost")
        runner.draining = True
        await runner.drain(20)


# --- a killed worker -------------------------------------------------------------------------------------------------


async def test_work_with_an_id_is_taken_up_again_and_sent_once(studio: Studio, scripted: Scripted) -> None:
    made = await interrupted(studio, scripted, *SENT)
    scripted.scripts.append([Progress(60, "painting"), RESULT])
    await studio.run()
    assert (await studio.get(made))["status"] == "completed"
    assert (scripted.resumed, scripted.sent) == ([None, "ext-1"], 1)


async def test_work_without_an_id_is_never_sent_again_by_itself(studio: Studio, scripted: Scripted) -> None:
    made = await interrupted(studio, scripted, *SENT_BLINDLY)
    await studio.run()
    found = await studio.get(made)
    assert (found["status"], found["error"]["code"], found["needs_review"]) == ("failed", "needs_review", True)
    assert (len(scripted.specs), scripted.sent) == (1, 1)
    assert (await studio.post(made, "retry")).status_code == 409
    assert (await studio.person.client.post(f"/api/jobs/{made['job_id']}/retry")).status_code == 409


async def test_its_owner_sends_it_again_knowingly(studio: Studio, scripted: Scripted) -> None:
    made = await interrupted(studio, scripted, *SENT_BLINDLY)
    await studio.run()
    answer = await studio.post(made, "resubmit")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    scripted.scripts.append([*SENT_BLINDLY, RESULT])
    await studio.run()
    assert (await studio.get(made))["status"] == "completed"
    assert scripted.sent == 2
    assert (await studio.post(made, "resubmit")).status_code == 409


async def test_a_worker_that_dies_between_sending_and_its_id_leaves_a_question(
    studio: Studio, scripted: Scripted
) -> None:
    made = await interrupted(studio, scripted, Submitting())
    await studio.run()
    assert (await studio.get(made))["needs_review"] is True


async def test_what_is_computed_here_is_simply_made_anew(studio: Studio, scripted: Scripted) -> None:
    made = await interrupted(studio, scripted, Progress(40, "drawing"))
    await studio.run()
    assert (await studio.get(made))["status"] == "completed"
    assert scripted.resumed == [None, None]


async def test_an_address_that_was_told_is_fetched_by_whoever_takes_over(
    studio: Studio, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing, fetched = asyncio.Event(), []

    async def fetch(remote: Remote, dest: Path) -> None:
        fetched.append(remote.url)
        if len(fetched) == 1:
            standing.set()
            await asyncio.Event().wait()
        dest.write_bytes(asset_bytes(Kind.VIDEO))

    monkeypatch.setattr("backend.generation.fetching.asset", fetch)
    there = Asset(Remote("https://results.example.org/1.mp4"), "video/mp4", "model-1")
    scripted.scripts.append([*SENT_BLINDLY, there])
    made = await studio.start()
    await lost_once(made, standing)
    await studio.run()
    assert (await studio.get(made))["status"] == "completed"
    assert (len(scripted.specs), fetched) == (1, ["https://results.example.org/1.mp4"] * 2)


async def test_a_worker_that_lost_its_job_writes_nothing_more(studio: Studio, offer: Offer) -> None:
    going, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
            yield Progress(10, "painting")
            going.set()
            await go_on.wait()
            yield Queued("of the lost one")

    offer(Slow(name="slow"))
    made = await studio.start(provider="slow")
    working = asyncio.create_task(running.run_next(worker="slow", queues=["generation"]))
    async with asyncio.timeout(30):
        await going.wait()
    await lose_worker(made)
    go_on.set()
    async with asyncio.timeout(30):
        await working
    assert (await studio.row(made)).external_id is None


# --- what a provider says --------------------------------------------------------------------------------------------


async def test_an_honest_failure_is_sent_anew_at_the_next_try(studio: Studio, scripted: Scripted) -> None:
    refused = Failed("provider_error", "It was dropped.", retryable=True)
    scripted.scripts += [[*SENT, refused], [*SENT, RESULT]]
    made = await studio.make()
    assert made["status"] == "completed"
    assert (scripted.resumed, scripted.sent) == ([None, None], 2)


async def test_a_refusal_is_told_in_its_own_words_and_not_tried_again(studio: Studio, scripted: Scripted) -> None:
    scripted.scripts.append([*SENT, Failed("provider_error", "The prompt was refused.")])
    made = await studio.make()
    assert (made["status"], made["error"]["message"]) == ("failed", "The prompt was refused.")
    assert (made["error"]["retryable"], len(scripted.specs)) == (False, 1)


async def test_a_cut_line_of_which_nobody_knows_the_end_needs_review(studio: Studio, scripted: Scripted) -> None:
    scripted.scripts.append([*SENT_BLINDLY, Failed("provider_error", "The line was cut.", unknown=True)])
    made = await studio.make()
    assert (made["error"]["code"], made["needs_review"]) == ("needs_review", True)


async def test_a_provider_that_is_away_spends_no_attempt(studio: Studio, scripted: Scripted) -> None:
    away = Failed("provider_unavailable", "It does not answer.", waits=True)
    scripted.scripts += [[away]] * 9
    made = await studio.make()
    assert made["status"] == "completed"
    assert len(scripted.specs) == 10


async def test_a_provider_that_breaks_is_tried_again_and_one_without_a_result_too(
    studio: Studio, scripted: Scripted
) -> None:
    scripted.scripts += [[ZeroDivisionError()], [Progress(99, "nearly")]]
    made = await studio.make()
    assert made["status"] == "completed"
    assert len(scripted.specs) == 3


async def test_progress_never_falls(studio: Studio, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    report = running.Run.report

    async def noted(self: running.Run, stage: str, percent: float) -> None:
        await report(self, stage, percent)
        seen.append(self.progress)

    monkeypatch.setattr(running.Run, "report", noted)
    scripted.scripts.append(
        [Progress(80, "a"), Progress(20, "b"), Progress(float("nan"), "c"), Progress(200, "d"), RESULT]
    )
    await studio.make()
    assert seen == sorted(seen)
    assert max(seen) < 100


async def test_a_provider_that_is_not_switched_on_any_more_is_said_so(studio: Studio, scripted: Scripted) -> None:
    made = await studio.start()
    async with transaction() as session:
        await session.execute(update(Generation).values(provider="gone"))
    await studio.run()
    assert (await studio.get(made))["error"]["code"] == "provider_unavailable"


# --- the result ------------------------------------------------------------------------------------------------------


async def test_a_video_is_one_of_the_project_with_all_that_is_known_of_it(studio: Studio, scripted: Scripted) -> None:
    made = await studio.make("A harbour at dawn. Gulls.", seed=3)
    assert (made["status"], made["progress"], made["video_id"]) == ("completed", 100, made["id"])
    assert (made["model_used"], made["seed"], made["notes"]) == ("model-1", 7, ["It is a little short."])
    video = (await studio.person.client.get(f"/api/videos/{made['id']}")).json()
    assert (video["source"], video["playable"], video["width"], video["duration"]) == ("generation", True, 64, 1)
    assert (video["prompt"], video["orientation"], video["model_used"]) == (made["prompt"], "portrait", "model-1")
    assert (video["status"], video["job_id"] != made["job_id"]) == ("processing", True)
    key = f"projects/{made['project_id']}/video/{made['id']}/output.mp4"
    found = await storage.head(key)
    assert found is not None
    assert (found.size_bytes, found.content_type) == (made["size_bytes"], "video/mp4")
    job = (await studio.person.client.get(f"/api/jobs/{made['job_id']}")).json()
    assert (job["status"], job["video_id"]) == ("completed", made["id"])


@pytest.mark.parametrize(("kind", "ending", "of"), [("image", "jpg", "width"), ("audio", "mp3", "duration")])
async def test_pictures_and_sounds_lie_where_it_is_documented(
    studio: Studio, scripted: Scripted, kind: str, ending: str, of: str
) -> None:
    made = await studio.make(kind=kind)
    key = f"projects/{made['project_id']}/{kind}/{made['id']}/output.{ending}"
    found = await storage.head(key)
    assert found is not None
    assert (made["status"], made["video_id"], found.content_type) == ("completed", None, made["content_type"])
    assert made[of] > 0
    async with transaction() as session:
        assert await session.scalar(select(func.count()).select_from(Video)) == 0
        assert await session.scalar(select(StoredObject.kind).where(StoredObject.key == key)) == "generated"


async def test_what_cannot_be_used_is_tried_again_and_then_told(studio: Studio, offer: Offer) -> None:
    class Broken(Scripted):
        async def run(self, spec: Spec, *, folder: Path, resume: str | None = None) -> AsyncIterator[Event]:
            self.specs.append(spec)
            (folder / "it.mp4").write_bytes(b"no film at all")
            yield Asset(folder / "it.mp4", "video/mp4", "model-1")

    broken = offer(Broken(name="broken"))
    made = await studio.make(provider="broken")
    assert (made["status"], made["error"]["code"], len(broken.specs)) == ("failed", "provider_error", 4)
    assert made["error"]["message"].startswith("What the provider made cannot be used.")
    assert await storage.head(f"projects/{made['project_id']}/video/{made['id']}/output.mp4") is None


async def test_a_storage_that_is_away_for_a_moment_costs_no_second_generation(
    studio: Studio, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_STORAGE_WAIT_SECONDS", 0.01)
    put, failures = storage.put_file, [StorageUnavailable()] * 3

    async def flaky(*args: object, **more: object) -> None:
        if failures:
            raise failures.pop()
        await put(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(storage, "put_file", flaky)
    scripted.scripts.append([*SENT_BLINDLY, RESULT])
    made = await studio.make()
    assert (made["status"], scripted.sent) == ("completed", 1)


async def test_one_that_was_deleted_meanwhile_leaves_nothing(studio: Studio, scripted: Scripted) -> None:
    made = await interrupted(studio, scripted, *SENT)
    assert (await studio.person.client.delete(f"/api/generations/{made['id']}")).status_code == 204
    await studio.run()
    assert len(scripted.specs) == 1
    await make_due("purge_generation")
    await run_queue("default")
    row = await studio.row(made)
    assert (row.prompt, row.spec, row.s3_key) == ("", {}, None)


async def test_a_job_notes_the_tools_it_ran(studio: Studio, scripted: Scripted) -> None:
    made = await studio.make(kind="image")
    async with transaction() as session:
        commands = await session.scalar(
            select(JobAttempt.command).where(JobAttempt.job_id == uuid.UUID(made["job_id"]))
        )
    assert "jpeg_pipe" in (commands or "")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
async def test_it_notes_no_prompts(studio: Studio) -> None:
    made = await studio.make("Nobody shall read this", kind="audio", provider="animatic")
    async with transaction() as session:
        mine = JobAttempt.job_id == uuid.UUID(made["job_id"])
        commands = await session.scalar(select(JobAttempt.command).where(mine)) or ""
    assert ("espeak-ng" in commands, "Nobody" in commands) == (True, False)


# --- stopping it -----------------------------------------------------------------------------------------------------


async def test_whoever_works_on_a_cancelled_one_elsewhere_is_told_until_it_hears(
    studio: Studio, scripted: Scripted
) -> None:
    made = await interrupted(studio, scripted, *SENT)
    scripted.cancel_failures = 2
    assert (await studio.post(made, "cancel")).json()["status"] == "cancelled"
    await studio.run()
    assert scripted.cancelled == ["ext-1"]
    assert len(await jobs_of_kind("cancel_generation")) == 1


async def test_a_cancelled_one_is_sent_anew_when_it_is_wanted_after_all(studio: Studio, scripted: Scripted) -> None:
    made = await interrupted(studio, scripted, *SENT)
    await studio.post(made, "cancel")
    again = (await studio.post(made, "retry")).json()
    assert (again["status"], again["job_id"] != made["job_id"]) == ("pending", True)
    await studio.run()
    assert (await studio.get(made))["status"] == "completed"
    assert scripted.resumed == [None, None]


async def test_a_running_one_stops_within_seconds(studio: Studio, scripted: Scripted) -> None:
    scripted.scripts.append([*SENT, "stand still"])
    made = await studio.start()
    runner = running.Runner(worker="test", queues=["generation"], slots=1)
    assert await runner.look()
    async with asyncio.timeout(30):
        await scripted.standing.wait()
        await studio.post(made, "cancel")
        runner.cancel({uuid.UUID(made["job_id"])})
        await runner.drain(20)
    assert (await studio.get(made))["status"] == "cancelled"
    async with transaction() as session:
        assert await session.scalar(select(Job.error_code).where(Job.id == uuid.UUID(made["job_id"]))) == "cancelled"
