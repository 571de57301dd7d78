"""Everybody who asks, and what there is to ask for: an organization's two projects, and others they know nothing of."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import sessions
from backend.accounts.models import LoginSession, User
from backend.accounts.sessions import Client
from backend.core.db import Base, transaction
from backend.core.security import issue_access_token
from backend.orgs.models import Organization, OrgMember, Project, ProjectMember
from backend.videos.models import Upload
from tests.matrix.rules import OF_ROLE, OF_SCOPE
from tests.matrix.things import LONG, add_deleted, add_invitation, add_key, add_things, add_user

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
            for name in ("video_id", "generation_id"):
                ids[side][f"deleted_{name}"] = await add_deleted(session, project.id, name, ids[side][name])
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
