"""Everybody who asks, and what there is to ask for: an organization's two projects, and others they know nothing of."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import inspect, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import sessions
from backend.accounts.models import LoginSession, User
from backend.accounts.sessions import Client
from backend.core.db import Base, transaction
from backend.core.security import digest, issue_access_token
from backend.jobs.models import Job
from backend.orgs import credentials
from backend.orgs.models import ApiKey, Invitation, Organization, OrgMember, Project, ProjectMember
from backend.videos.models import Upload, Video
from backend.webhooks.models import WebhookDelivery, WebhookEndpoint
from backend.webhooks.signing import new_secret
from tests.matrix.table import OF_ROLE, OF_SCOPE

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
}
#: What a use notes of itself.
_NOTED = {"api_keys": ["last_used_at"], "login_sessions": ["last_seen_at", "expires_at"]}


@dataclass(eq=False)
class Asker:
    """Somebody or something that asks, and what it is where: by place, a role."""

    name: str
    user_id: uuid.UUID | None = None
    roles: dict[uuid.UUID, str] = field(default_factory=dict)
    platform: str = ""
    valid: bool = True
    key: str = ""
    scopes: tuple[str, ...] = ()
    home: uuid.UUID = field(default_factory=uuid.uuid4)  #: the personal project, or a key's project
    session_id: uuid.UUID | None = None  #: the one that `token` is of
    cookie: str = ""
    token: str = ""

    def permissions(self, place: uuid.UUID) -> frozenset[str]:
        mine = "owner" if place == self.home and not self.key else ""
        held = OF_ROLE.get(self.roles.get(place, mine), frozenset())
        if not self.key:
            return held
        in_scope = frozenset().union(*(OF_SCOPE[scope] for scope in self.scopes))
        return held & in_scope if self.home == place else frozenset()

    def headers(self, *, page: bool) -> dict[str, str]:
        """What it proves itself with: a browser's cookie for pages, a token for the API."""
        if self.key:
            return {"x-api-key": self.key}
        if page:
            return {"cookie": f"dailies={self.cookie}", "sec-fetch-site": "same-origin"} if self.cookie else {}
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


async def sign_in(asker: Asker) -> None:
    """Two sessions, a browser's and a program's, in the place of those it had."""
    async with transaction() as session:
        user = await session.get_one(User, asker.user_id)
        client = Client(ip="203.0.113.7", user_agent="matrix")
        browser = await sessions.open_session(session, user=user, client=client, browser=True)
        program = await sessions.open_session(session, user=user, client=client, browser=False)
        mine = select(Project.id).where(Project.owner_id == user.id, Project.personal)
        asker.home = (await session.scalars(mine)).one()
    asker.cookie, asker.session_id = browser.cookie or "", program.session_id
    asker.token = issue_access_token(user.id, program.session_id)


async def add_user(session: AsyncSession, name: str, *roles: str) -> User:
    """An account without a password, and its own project."""
    email = f"{name}-{uuid.uuid4().hex[:8]}@example.org"
    user = User(email=email, email_key=email, name=name, password_hash="none", roles=list(roles))
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
    await session.flush()
    ids["key_id"] = (await add_key(session, owner, project, "read")).id
    return ids


def add_invitation(id: uuid.UUID, maker: uuid.UUID, **place: uuid.UUID) -> Invitation:
    """Its token is its id."""
    end = datetime.now(UTC) + LONG
    return Invitation(id=id, role="viewer", token_hash=digest(str(id)), created_by=maker, expires_at=end, **place)


async def fresh(session: AsyncSession, name: str, id: uuid.UUID) -> uuid.UUID:
    """Another row like this one, for a request that uses it up."""
    model = MODELS[name]
    row = await session.get_one(model, id)
    new = uuid.uuid4()
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


async def add_deleted(session: AsyncSession, project: uuid.UUID, like: uuid.UUID) -> uuid.UUID:
    """A video that was deleted a moment ago: one can have it back."""
    id = await fresh(session, "video_id", like)
    (await session.get_one(Video, id)).deleted_at = datetime.now(UTC)
    later = datetime.now(UTC) + LONG
    key = f"purge_video:{id}"
    session.add(Job(project_id=project, kind="purge_video", dedupe_key=key, run_at=later, args={"video_id": str(id)}))
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


async def digests() -> dict[str, str]:
    """Every table as one number: whatever a request changes, changes one."""
    found = {}
    async with transaction() as session:
        for table in Base.metadata.sorted_tables:
            if table.name == "storage_facts":  # learned by whoever asks the storage first
                continue
            noted = "".join(f" - '{name}'" for name in _NOTED.get(table.name, []))
            rows = f'SELECT (to_jsonb(t){noted})::text AS row FROM "{table.name}" AS t'
            digest_of_all = "count(*) || ' rows ' || md5(coalesce(string_agg(row, ' ' ORDER BY row), ''))"
            found[table.name] = str(await session.scalar(text(f"SELECT {digest_of_all} FROM ({rows}) AS r")))
    return found


@dataclass
class World:
    """All of it. Sides: `own`, `elsewhere` (a project that some of them are in, too), `foreign` (a stranger's)."""

    askers: list[Asker]
    project: uuid.UUID
    organization: uuid.UUID
    ids: dict[str, dict[str, uuid.UUID]]  #: by side, then by name


async def make_world() -> World:
    async with transaction() as session:
        people = {
            name: await add_user(session, name, *([name] if name in ("admin", "auditor") else []))
            for name in (
                *("admin", "auditor", "owner", "other", "viewer", "editor"),
                *("org_viewer", "org_admin", "org_owner", "stranger", "onlooker"),
            )
        }
        id_of = {name: user.id for name, user in people.items()}
        club, strangers = Organization(name="Film club"), Organization(name="Strangers")
        session.add_all([club, strangers])
        await session.flush()
        own, elsewhere = (Project(name=name, organization_id=club.id) for name in ("Spring", "Autumn"))
        foreign = Project(name="Not yours", organization_id=strangers.id)
        session.add_all([own, elsewhere, foreign])
        await session.flush()
        roles: dict[str, dict[uuid.UUID, str]] = {name: {} for name in people}
        for name, role in (("viewer", "viewer"), ("editor", "editor"), ("owner", "owner")):
            roles[name][own.id] = role
        roles["onlooker"][own.id] = "viewer"
        roles["owner"][elsewhere.id] = "viewer"
        for name, each in roles.items():
            for place, role in each.items():
                session.add(ProjectMember(project_id=place, user_id=id_of[name], role=role))
        for role in ("viewer", "admin", "owner"):
            session.add(OrgMember(organization_id=club.id, user_id=id_of[f"org_{role}"], role=role))
            roles[f"org_{role}"] = {club.id: role, own.id: role, elsewhere.id: role}
        session.add(OrgMember(organization_id=club.id, user_id=id_of["onlooker"], role="viewer"))
        session.add(OrgMember(organization_id=strangers.id, user_id=id_of["stranger"], role="owner"))
        await session.flush()
        ids: dict[str, dict[str, uuid.UUID]] = {}
        for side, project, org, keeper, member in (
            ("own", own, club, "org_owner", "onlooker"),
            ("elsewhere", elsewhere, club, "org_owner", "org_owner"),
            ("foreign", foreign, strangers, "stranger", "stranger"),
        ):
            ids[side] = await add_things(session, project.id, id_of[keeper])
            ids[side] |= {"project_id": project.id, "organization_id": org.id, "user_id": id_of[member]}
            invitation = add_invitation(uuid.uuid4(), id_of[keeper], organization_id=org.id)
            session.add(invitation)
            ids[side]["org_invitation_id"] = invitation.id
            ids[side]["deleted_video_id"] = await add_deleted(session, project.id, ids[side]["video_id"])
            ids[side]["upload_video_id"] = (await session.get_one(Upload, ids[side]["upload_id"])).video_id
        askers = [
            Asker(name, id_of[name], roles[name], name if name in ("admin", "auditor") else "")
            for name in people
            if name not in ("stranger", "onlooker")
        ]
        askers += await _keys(session, id_of, roles, own.id)
    for asker in askers:
        if not asker.key:
            await sign_in(asker)
    askers += [Asker("anonymous", valid=False), *(await _ended(id_of["owner"]))]
    async with transaction() as session:
        stranger = LoginSession(user_id=id_of["stranger"], expires_at=datetime.now(UTC) + LONG)
        session.add(stranger)
        await session.flush()
        ids["foreign"]["session_id"] = stranger.id
    return World(askers, ids["own"]["project_id"], ids["own"]["organization_id"], ids)


async def _keys(
    session: AsyncSession, id_of: Mapping[str, uuid.UUID], roles: Mapping[str, dict[uuid.UUID, str]], own: uuid.UUID
) -> list[Asker]:
    past = datetime.now(UTC) - timedelta(hours=1)
    every = tuple(OF_SCOPE)
    home = await session.scalar(select(Project.id).where(Project.owner_id == id_of["owner"], Project.personal))
    assert home is not None
    made: list[tuple[str, str, uuid.UUID, tuple[str, ...], dict[str, Any], bool]] = [
        *((f"key to {scope}", "owner", own, (scope,), {}, True) for scope in every),
        ("key of one who only looks on now", "viewer", own, every, {}, True),
        ("key of another project", "owner", home, every, {}, True),
        ("key of one who left", "other", own, every, {}, False),
        ("expired key", "owner", own, every, {"expires_at": past}, False),
        ("revoked key", "owner", own, every, {"revoked_at": past}, False),
    ]
    askers = []
    for name, maker, project, scopes, more, valid in made:
        key = await add_key(session, id_of[maker], project, *scopes, **more)
        askers.append(
            Asker(
                name,
                id_of[maker],
                {**roles[maker], home: "owner"} if project == home else roles[maker],
                valid=valid,
                key=key.text,  # type: ignore[attr-defined]
                scopes=scopes,
                home=project,
            )
        )
    return askers


async def _ended(owner: uuid.UUID) -> list[Asker]:
    ended = []
    for name, column in (("expired session", "expires_at"), ("revoked session", "revoked_at")):
        async with transaction() as session:
            before = set(await session.scalars(select(LoginSession.id)))
        asker = Asker(name, owner, valid=False)
        await sign_in(asker)
        async with transaction() as session:
            new = LoginSession.id.not_in(before)
            past = datetime.now(UTC) - timedelta(hours=1)
            await session.execute(update(LoginSession).where(new).values({column: past}))
        ended.append(asker)
    return ended
