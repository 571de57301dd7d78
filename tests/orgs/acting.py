"""Who acts in these tests, and where: actors, organizations, members and keys, made through the door."""

import uuid
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import select

from backend.accounts.models import LoginSession, User
from backend.accounts.sessions import Identity
from backend.core.db import transaction
from backend.orgs.access import Actor, load_actor
from tests.conftest import Person, http_client


async def actor_of(person: Person) -> Actor:
    """The actor behind one of a person's sessions."""
    async with transaction() as session:
        user = await session.get_one(User, uuid.UUID(person.id))
        login = await session.scalar(
            select(LoginSession.id)
            .where(LoginSession.user_id == user.id)
            .order_by(LoginSession.created_at, LoginSession.id)
            .limit(1)
        )
        assert login is not None
        return await load_actor(session, Identity(user=user, session_id=login, via="bearer"))


async def made(answer: httpx.Response, status: int = 201) -> dict[str, Any]:
    """The body of an answer that went well."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def organization(owner: Person, name: str = "Film club") -> str:
    return str((await made(await owner.client.post("/api/orgs", json={"name": name})))["id"])


async def project(owner: Person, name: str = "Spring film", **more: str) -> str:
    return str((await made(await owner.client.post("/api/projects", json={"name": name, **more})))["id"])


async def join(owner: Person, newcomer: Person, place: str, role: str) -> None:
    """Make somebody a member: `place` is the path of a project or an organization."""
    invitation = await made(await owner.client.post(f"{place}/invitations", json={"role": role}))
    accepted = await newcomer.client.post(f"/api/invitations/{invitation['token']}/accept")
    assert accepted.status_code == 200, accepted.text


async def key(owner: Person, project_id: str, *scopes: str, **more: Any) -> dict[str, Any]:
    body = {"name": "Robot", "scopes": scopes or ["read"], **more}
    return await made(await owner.client.post(f"/api/projects/{project_id}/api-keys", json=body))


def program(app: FastAPI, text: str, *, bearer: bool = False) -> httpx.AsyncClient:
    """A client that sends this key."""
    return http_client(app, **({"Authorization": f"Bearer {text}"} if bearer else {"X-API-Key": text}))


async def personal(person: Person) -> str:
    projects = (await person.client.get("/api/projects")).json()["projects"]
    return str(projects[0]["id"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"] if answer.status_code >= 400 else ""
