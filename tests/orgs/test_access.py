"""What one may not see is not there, and nothing loads a project's rows past `orgs.access`."""

import ast
import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from backend.core.db import Base, transaction
from backend.core.errors import NotFound
from backend.orgs import service
from backend.orgs.access import Actor, get_visible, visible
from backend.orgs.models import Project, ProjectMember
from backend.orgs.roles import Role
from backend.videos.models import Video
from tests.conftest import Person
from tests.orgs.acting import actor_of

BACKEND = Path(__file__).resolve().parents[2] / "backend"


async def video_of(actor: Actor, *, project_id: uuid.UUID | None = None, deleted: bool = False) -> uuid.UUID:
    async with transaction() as session:
        video = Video(
            project_id=project_id or actor.personal_project_id,
            owner_id=actor.user_id,
            title="A film",
            filename="a.mp4",
            content_type="video/mp4",
            size_bytes=1,
            s3_key=uuid.uuid4().hex,
            deleted_at=func.now() if deleted else None,
        )
        session.add(video)
        await session.flush()
        return video.id


async def seen_by(actor: Actor) -> set[uuid.UUID]:
    async with transaction() as session:
        return {video.id for video in await session.scalars(visible(Video, actor))}


# --- rows ------------------------------------------------------------------------------------------------------------


async def test_an_actor_has_the_personal_project_and_no_other(user: Person, other: Person) -> None:
    mine, theirs = await actor_of(user), await actor_of(other)
    assert mine.project_ids == (mine.personal_project_id,)
    assert mine.personal_project_id != theirs.personal_project_id
    assert (mine.is_admin, theirs.is_admin) == (True, False)


async def test_one_sees_the_rows_of_ones_own_projects_even_as_admin(user: Person, other: Person) -> None:
    mine, theirs = await actor_of(user), await actor_of(other)
    my_video, their_video = await video_of(mine), await video_of(theirs)
    assert await seen_by(mine) == {my_video}
    assert await seen_by(theirs) == {their_video}


async def test_a_member_sees_a_shared_project_and_nothing_after_leaving(user: Person, other: Person) -> None:
    mine, theirs = await actor_of(user), await actor_of(other)
    video = await video_of(mine)
    async with transaction() as session:
        session.add(ProjectMember(project_id=mine.personal_project_id, user_id=theirs.user_id, role=Role.OWNER))
    joined = await actor_of(other)
    assert await seen_by(joined) == {video}
    assert joined.personal_project_id == theirs.personal_project_id, "another's personal project is not one's own"
    async with transaction() as session:
        row = await session.get_one(ProjectMember, (mine.personal_project_id, theirs.user_id))
        await session.delete(row)
    assert await seen_by(await actor_of(other)) == set()


async def test_an_actor_without_projects_sees_nothing(user: Person) -> None:
    mine = await actor_of(user)
    await video_of(mine)
    nobody = Actor(user=mine.user, session_id=mine.session_id, via="cookie", personal_project_id=uuid.uuid4())
    assert await seen_by(nobody) == set()


async def test_what_is_deleted_anothers_or_missing_is_not_found_alike(user: Person, other: Person) -> None:
    mine, theirs = await actor_of(user), await actor_of(other)
    for id in (await video_of(mine, deleted=True), await video_of(theirs), uuid.uuid4()):
        async with transaction() as session:
            with pytest.raises(NotFound) as refusal:
                await get_visible(session, Video, mine, id)
        assert refusal.value.message == NotFound.message


async def test_a_row_can_be_locked_while_it_is_loaded(user: Person) -> None:
    mine = await actor_of(user)
    id = await video_of(mine)
    async with transaction() as session, transaction() as rival:
        assert (await get_visible(session, Video, mine, id, for_update=True)).id == id
        with pytest.raises(DBAPIError, match="could not obtain lock"):
            await rival.scalar(select(Video.id).where(Video.id == id).with_for_update(nowait=True))
        await rival.rollback()


async def test_projects_are_seen_by_their_members(user: Person, other: Person) -> None:
    mine, theirs = await actor_of(user), await actor_of(other)
    async with transaction() as session:
        listed = await service.list_projects(session, actor=mine)
        assert [project.id for project in listed] == [mine.personal_project_id]
        with pytest.raises(NotFound):
            await get_visible(session, Project, mine, theirs.personal_project_id)


async def test_an_account_never_gets_a_second_personal_project(user: Person) -> None:
    mine = await actor_of(user)
    with pytest.raises(DBAPIError, match="uq_projects_personal_owner_id"):
        async with transaction() as session:
            await service.create_personal_project(session, mine.user)


# --- requests --------------------------------------------------------------------------------------------------------


async def test_projects_are_listed_for_whoever_is_signed_in(user: Person, other: Person) -> None:
    answer = await user.client.get("/api/projects")
    project = answer.json()["projects"][0]
    assert set(project) == {"id", "name", "personal", "organization_id", "role", "permissions", "created_at"}
    theirs = await other.browser.get("/api/projects")
    assert theirs.json()["projects"][0]["id"] != project["id"]


async def test_projects_are_for_nobody_else(user: Person) -> None:
    user.client.headers.pop("authorization")
    answer = await user.client.get("/api/projects")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")


async def test_an_ended_session_reaches_nothing(user: Person) -> None:
    await user.client.post("/api/auth/logout")
    answers = await asyncio.gather(*(user.client.get("/api/projects") for _ in range(3)))
    assert {answer.json()["error"]["code"] for answer in answers} == {"session_revoked"}


# --- the door is the only one ----------------------------------------------------------------------------------------

#: Files and functions that load a project's rows without an actor, and why they may.
ALLOWED: dict[str, str] = {
    "admin/search.py::meaning": "names the projects that a word may mean, in what admins and auditors search",
    "admin/service.py": "admins and auditors see all projects' jobs; what they do is in the audit log",
    "orgs/credentials.py": "finds the key that a request sends: by it, it is decided who asks",
    "orgs/leaving.py": "keys and invitations of somebody who was just put out of a place, or leaves it",
    "orgs/audit.py": "the audit log, for admins, auditors, and of a place those who manage it (of_place requires it)",
    "orgs/places.py::hold": "locks a project; whoever calls it has required a permission, or has an invitation",
    "orgs/organizations.py::delete_organization": "whether projects are left, also those the owner cannot see any more",
    "orgs/invitations.py": "invitations are found by their secret, or by a place in which one was required to manage",
    "jobs/moves.py": "moves by id, state and lease; a person's job was loaded through the door before it gets here",
    "jobs/leases.py": "the worker's verbs, fenced by the lease token; no person asks",
    "jobs/claims.py::_claiming": "the worker's: it takes the next job, of whatever project, and no person asks",
    "jobs/neighbours.py::disown": "the worker's: it ends the leases of workers that are gone",
    "jobs/service.py": "moves a job that was loaded through the door before it gets here",
    "jobs/families.py": "the parents and children of a job that its caller holds or was given by the door",
    "jobs/queries.py::find_job": "the job's newest state, for a stream whose job was loaded through the door",
    "jobs/queries.py::find_jobs": "the jobs' newest states, for streams and readers who check whose they are",
    "jobs/queries.py::latest_for_videos": "the jobs of videos that were loaded through the door",
    "generation/callbacks.py": "the worker's: it acts for a job, and no person asks",
    "generation/cms_service.py::name_target": "the project's own row, which its caller has required to manage",
    "generation/cms_service.py::send_again": "the project's results, which its caller has required to manage",
    "generation/cms_sync.py": "the worker's: it acts for a job, and no person asks",
    "generation/engine.py": "the worker's: it acts for a job, and no person asks",
    "generation/keeping.py": "the worker's: it acts for a job, and no person asks",
    "generation/tasks.py": "the worker's: it acts for a job, and no person asks",
    "generation/pictures.py::remove_unused": "nobody is shown them: pictures that no generation names",
    "generation/quota.py::left": "how many a person has started, wherever",
    "generation/service.py::restore": "the generation whose waiting removal was loaded through the door",
    "generation/service.py::resubmit": "the job of a generation that was loaded through the door",
    "generation/service.py::_count_again": "a generation that was loaded through the door",
    "generation/service.py::delete": "the job and the video of a generation that was loaded through the door",
    "generation/service.py::_job_of": "the job of a generation that was loaded through the door",
    "generation/shapes.py": "the jobs and videos of generations that were loaded through the door",
    "generation/outcomes.py": "the worker's: it acts for a job; or for a project that was required to manage",
    "generation/results.py": "what came of generations that were loaded through the door, or that a job works on",
    "generation/v1_api.py::get_media": "who has its link reads the file: the link holds the proof",
    "generation/v1_service.py::_check_room": "how many jobs wait in a project that was required before",
    "generation/v1_service.py::shown": "the jobs and errands of tasks that were loaded through the door",
    "coaching/analyses.py::initiate": "the project of a session that was loaded through the door",
    "coaching/analyses.py::_arrived": "the analyses that wait for an upload which has just become a video",
    "coaching/analyses.py::_waits": "whether an analysis waits for an upload that was loaded through the door",
    "coaching/analyses.py::_stays": "whether a video that was loaded through the door has been analysed",
    "coaching/analyses.py::summary_of": "the summary of an analysis that was loaded through the door",
    "coaching/analyses.py::shown_many": "the jobs and uploads of analyses that were loaded through the door",
    "coaching/analyses.py::rewrite": "an analysis that was loaded through the door, or that a job has finished",
    "coaching/bell.py::ring": "the analysis whose job its caller has just queued",
    "coaching/tasks.py": "the worker's: it acts for a job, and no person asks",
    "videos/service.py::restore_video": "the video whose waiting removal was loaded through the door",
    "webhooks/deliveries.py": "the worker's: it sends what is due, of whatever project, and no person asks",
    "webhooks/events.py": "which webhooks of a project want to hear of something; nobody is shown them",
    "webhooks/service.py::silence": "the webhooks of a project that its owner has just deleted",
    "videos/announcements.py::tell_of_video": "a video that its caller has just changed",
    "videos/tasks.py": "the worker's: it acts for a job, and no person asks",
    "videos/rendition_tasks.py": "the worker's: it acts for a job, and no person asks",
    "videos/processing.py": "the worker's: it acts for a job, and no person asks",
    "videos/family.py": "the steps of jobs of videos that were loaded through the door",
    "videos/playback.py::_rungs": "the ladder of a video that was loaded through the door",
    "videos/live.py::_read_videos": "the newest state of videos whose streams were opened through the door",
    "videos/ledger.py": "the worker's: objects of rows that were loaded through the door, and of those that are gone",
    "videos/moving.py::move_video": "the jobs, the upload and the objects of a video that was loaded through the door",
    "videos/quota.py": "what counts for a project's owner, whoever of its members sends",
    "videos/recounting.py": "the worker's: it counts everybody's videos, and shows nobody anything",
    "videos/reconcile.py": "admins': it compares everybody's objects with the storage, and shows no more than keys",
    "videos/removal.py": "the worker's: it acts for a job, and no person asks",
    "videos/sweep.py": "the worker's: it looks at everybody's uploads, and no person asks",
    "videos/uploads.py::begin": "the upload that it has just made",
    "videos/verification.py::_take": "an upload that was loaded through the door, or that the sweep looks at",
    "videos/verification.py::_put_back": "an upload that was loaded through the door, or that the sweep looks at",
    "videos/verification.py::_settle": "an upload that was loaded through the door, or that the sweep looks at",
    "videos/verification.py::_confirmed_before": "the video of an upload that was loaded through the door",
    "videos/service.py::retry_video": "the job of a video that was loaded through the door",
    "videos/service.py::mark_processing": "moves a video that was loaded through the door, or just made, by its state",
    "videos/service.py::delete_video": "marks a video that was loaded through the door",
    "videos/service.py::cancel_processing": "the jobs of a video that was loaded through the door",
    "videos/uploads.py::_adopted": "whether a key is taken; a stranger's is answered as if there were none",
}

QUERIES = {"select", "update", "delete", "exists", "insert_from_select", "get", "get_one"}
DOORS = {"visible", "get_visible", "require", "project_ids", "personal_project_id"}


def owned_models() -> set[str]:
    """The classes whose rows belong to a project, and those whose rows belong to such a row."""
    tables = {mapper.class_.__name__: mapper.local_table for mapper in Base.registry.mappers}
    owned = {name for name, table in tables.items() if "project_id" in table.columns} | {"Project"}
    of_owned = {
        name
        for name, table in tables.items()
        for key in table.foreign_keys
        if key.column.table.name in {"videos", "jobs", "uploads"}
    }
    return (owned | of_owned) - {"ProjectMember"}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (each for each in inside if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))


def names(node: ast.AST) -> set[str]:
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return found | {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def queries(node: ast.AST, models: set[str]) -> bool:
    """Whether the code asks the database for rows of these models by itself."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            asked = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
            mentioned = {name for argument in call.args for name in names(argument)}
            if asked in QUERIES and mentioned & models:
                return True
    return False


def side_doors() -> Iterator[str]:
    """Every function that loads a project's rows and neither asks `orgs.access` nor looks at the actor's projects."""
    models = owned_models()
    for path in sorted(BACKEND.rglob("*.py")):
        name = path.relative_to(BACKEND).as_posix()
        if path.name == "models.py" or name in ("orgs/access.py", "orgs/standings.py"):
            continue
        for function in functions(ast.parse(path.read_text())):
            if queries(function, models) and not names(function) & DOORS:
                yield f"{name}::{function.name}"


def test_a_projects_rows_are_loaded_through_the_door_only() -> None:
    unexplained = [door for door in side_doors() if door not in ALLOWED and door.partition("::")[0] not in ALLOWED]
    assert not unexplained, "load these rows through orgs.access.visible, or say in ALLOWED why nobody asks for them"


def test_every_exception_is_still_one() -> None:
    doors = set(side_doors())
    used = doors | {door.partition("::")[0] for door in doors}
    assert set(ALLOWED) <= used, "these no longer need an exception"


def test_the_search_for_side_doors_finds_one() -> None:
    code = ast.parse("async def f(session, id):\n    return await session.scalar(select(Video).where(Video.id == id))")
    assert queries(code, owned_models())
    assert {"Video", "Upload", "Job", "JobAttempt", "VideoCount", "Project", "ApiKey", "Invitation"} <= owned_models()
