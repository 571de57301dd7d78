"""One of each kind of thing in a project, and more like them for requests that use them up."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import inspect, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts.models import User
from backend.core.security import digest
from backend.generation.models import Generation
from backend.jobs.models import Job
from backend.orgs import credentials
from backend.orgs.models import ApiKey, Invitation, Organization, OrgMember, Project, ProjectMember
from backend.videos.models import Upload, Video
from backend.webhooks.models import WebhookDelivery, WebhookEndpoint
from backend.webhooks.signing import new_secret
from tests.matrix.practice import PRACTICE, add_practice

LONG = timedelta(days=300)
#: Rows by the name that an id has in a path.
MODELS: Mapping[str, Any] = {
    "video_id": Video,
    "job_id": Job,
    "upload_id": Upload,
    "webhook_id": WebhookEndpoint,
    "delivery_id": WebhookDelivery,
    "invitation_id": Invitation,
    "key_id": ApiKey,
    "generation_id": Generation,
    "task_id": Generation,
    **PRACTICE,
}


async def add_user(session: AsyncSession, name: str, *roles: str) -> User:
    """An account without a password, and its own project."""
    email = f"{name}-{uuid.uuid4().hex[:8]}@example.org"
    user = User(email=email, email_key=email, name=name, password_hash="none", roles=["coach_pro_plus", *roles])
    user.features = ["video_upload_enabled"]
    session.add(user)
    await session.flush()
    own = Project(name="Personal", owner_id=user.id, personal=True)
    session.add(own)
    await session.flush()
    session.add(ProjectMember(project_id=own.id, user_id=user.id, role="owner"))
    await session.flush()
    return user


async def add_key(session: AsyncSession, maker: uuid.UUID, project: uuid.UUID, *scopes: str, **more: Any) -> ApiKey:
    text, public_id, secret_hash = credentials.new_text()
    key = ApiKey(
        project_id=project,
        public_id=public_id,
        secret_hash=secret_hash,
        name="Key",
        scopes=list(scopes),
        created_by=maker,
        **more,
    )
    session.add(key)
    await session.flush()
    key.text = text  # type: ignore[attr-defined]  # for whoever sends it
    return key


async def add_things(session: AsyncSession, project: uuid.UUID, owner: uuid.UUID) -> dict[str, uuid.UUID]:
    """One of each kind in a project; what there is of them, by the name of its id."""
    ids = {name: uuid.uuid4() for name in MODELS}
    session.add(
        Video(
            id=ids["video_id"],
            project_id=project,
            owner_id=owner,
            title="Clip",
            status="failed",
            error_code="probe_timeout",
            error_message="It took too long.",
            error_retryable=True,
            filename="clip.mp4",
            content_type="video/mp4",
            size_bytes=9,
            s3_key=f"videos/{uuid.uuid4()}",
        )
    )
    await session.flush()
    session.add(
        Job(
            id=ids["job_id"],
            project_id=project,
            owner_id=owner,
            kind="process_video",
            video_id=ids["video_id"],
            args={"video_id": str(ids["video_id"])},
            state="failed",
            error_code="probe_timeout",
            error_message="It took too long.",
            error_retryable=True,
            finished_at=datetime.now(UTC),
        )
    )
    session.add(
        Upload(
            id=ids["upload_id"],
            project_id=project,
            owner_id=owner,
            s3_key=f"videos/{uuid.uuid4()}",
            filename="clip.mp4",
            content_type="video/mp4",
            size_bytes=9,
            expires_at=datetime.now(UTC) + LONG,
        )
    )
    secret = new_secret(ids["webhook_id"])[1]
    hook = {"id": ids["webhook_id"], "url": "http://93.184.216.34/", "events": ["job.*"]}
    session.add(WebhookEndpoint(project_id=project, secret=secret, **hook))
    await session.flush()
    session.add(
        WebhookDelivery(
            id=ids["delivery_id"],
            project_id=project,
            endpoint_id=ids["webhook_id"],
            event_id=uuid.uuid4(),
            type="job.failed",
            data={},
            state="dead",
            next_try_at=None,
            finished_at=datetime.now(UTC),
        )
    )
    session.add(add_invitation(ids["invitation_id"], owner, project_id=project))
    for name, door in (("generation_id", "studio"), ("task_id", "tasks")):
        await add_generation(session, ids[name], project_id=project, owner_id=owner, door=door)
    await add_practice(session, project, owner, ids)
    ids["key_id"] = (await add_key(session, owner, project, "read")).id
    return ids


async def add_generation(session: AsyncSession, id: uuid.UUID, **values: Any) -> None:
    """A picture that came to nothing."""
    job = Job(
        id=uuid.uuid4(),
        project_id=values["project_id"],
        owner_id=values["owner_id"],
        kind="generate",
        queue="generation",
        args={"generation_id": str(id)},
        state="failed",
        error_code="gpu_oom",
        error_message="The GPU has no room for this.",
        error_retryable=True,
        finished_at=datetime.now(UTC),
    )
    session.add(job)
    await session.flush()
    task_type = "generate_image" if values["door"] == "tasks" else None
    more = {"kind": "image", "prompt": "A boat", "provider": "animatic", "task_type": task_type}
    session.add(Generation(id=id, job_id=job.id, **values, **more))
    await session.flush()


def add_invitation(id: uuid.UUID, maker: uuid.UUID, **place: uuid.UUID) -> Invitation:
    """Its token is its id."""
    end = datetime.now(UTC) + LONG
    return Invitation(id=id, role="viewer", token_hash=digest(str(id)), created_by=maker, expires_at=end, **place)


async def fresh(session: AsyncSession, name: str, id: uuid.UUID) -> uuid.UUID:
    """Another row like this one, for a request that uses it up."""
    model = MODELS[name]
    row = await session.get_one(model, id)
    new = uuid.uuid4()
    if model is Generation:
        of = {each: getattr(row, each) for each in ("project_id", "owner_id", "door")}
        await add_generation(session, new, **of)
        return new
    unique = {
        "id": new,
        "s3_key": f"videos/{new}",
        **({"video_id": uuid.uuid4()} if model is Upload else {}),
        "event_id": uuid.uuid4(),
        "token_hash": digest(str(new)),
        "public_id": new.hex[:12],
    }
    columns = {column.key for column in inspect(model).columns if column.computed is None}
    deferred = inspect(row).unloaded
    values = {key: unique[key] if key in unique else getattr(row, key) for key in columns - deferred}
    session.add(model(**values))
    await session.flush()
    return new


async def add_deleted(session: AsyncSession, project: uuid.UUID, name: str, like: uuid.UUID) -> uuid.UUID:
    """A video or generation that was deleted a moment ago: one can have it back."""
    id = await fresh(session, name, like)
    (await session.get_one(MODELS[name], id)).deleted_at = datetime.now(UTC)
    kind = f"purge_{name.removesuffix('_id')}"
    later = datetime.now(UTC) + LONG
    session.add(Job(project_id=project, kind=kind, dedupe_key=f"{kind}:{id}", run_at=later, args={name: str(id)}))
    await session.flush()
    return id


async def fresh_place(session: AsyncSession, name: str, id: uuid.UUID) -> uuid.UUID:
    """Another project or organization with the same members, and nothing in it."""
    model: Any = Project if name == "project_id" else Organization
    members: Any = ProjectMember if name == "project_id" else OrgMember
    old = await session.get_one(model, id)
    more = {"organization_id": old.organization_id} if name == "project_id" else {}
    new = model(name="To be deleted", **more)
    session.add(new)
    await session.flush()
    for member in await session.scalars(select(members).where(getattr(members, name) == id)):
        session.add(members(user_id=member.user_id, role=member.role, **{name: new.id}))
    return uuid.UUID(str(new.id))


async def fresh_invitation(session: AsyncSession, id: uuid.UUID) -> uuid.UUID:
    """An invitation to another project like this one: whoever accepts it is nothing more in this one."""
    project = await fresh_place(session, "project_id", id)
    place = await session.get_one(Project, project)
    owners = select(OrgMember.user_id).where(OrgMember.organization_id == place.organization_id)
    maker = (await session.scalars(owners.where(OrgMember.role == "owner"))).one()
    invitation = add_invitation(uuid.uuid4(), maker, project_id=project)
    session.add(invitation)
    await session.flush()
    return invitation.id


async def fresh_member(session: AsyncSession, name: str, id: uuid.UUID) -> uuid.UUID:
    """Somebody new who looks on there."""
    user = await add_user(session, "newcomer")
    members: Any = ProjectMember if name == "project_id" else OrgMember
    session.add(members(user_id=user.id, role="viewer", **{name: id}))
    await session.flush()
    return user.id
