"""API keys, for those who manage a project."""

import uuid

from fastapi import APIRouter, Response

from backend.core.db import SessionDep
from backend.core.web import errors
from backend.orgs import keys
from backend.orgs.access import CurrentActor, PersonActor
from backend.orgs.schemas import KeyIn, KeyMadeOut, KeysOut, RotateIn
from backend.orgs.shapes import key_made, key_out

router = APIRouter(prefix="/api/projects/{project_id}/api-keys", tags=["keys"])


@router.get("", responses=errors(401, 403, 404, 422, 503))
async def list_keys(project_id: uuid.UUID, actor: CurrentActor, session: SessionDep) -> KeysOut:
    """The project's keys without their secrets, newest first."""
    found = await keys.list_keys(session, actor=actor, project_id=project_id)
    return KeysOut(keys=[key_out(key, user.email) for key, user in found])


@router.post("", status_code=201, responses=errors(400, 401, 403, 404, 413, 415, 422, 503))
async def create_key(
    project_id: uuid.UUID, body: KeyIn, actor: PersonActor, session: SessionDep, response: Response
) -> KeyMadeOut:
    """A key for this project, shown once. Send it as `X-API-Key` or bearer token. Only people make keys."""
    made = await keys.create_key(
        session, actor=actor, project_id=project_id, name=body.name, scopes=body.scopes, expires_at=body.expires_at
    )
    response.headers["Cache-Control"] = "no-store"
    return key_made(made, actor.user.email)


@router.post("/{key_id}/rotate", status_code=201, responses=errors(400, 401, 403, 404, 409, 413, 415, 422, 503))
async def rotate_key(
    project_id: uuid.UUID,
    key_id: uuid.UUID,
    actor: PersonActor,
    session: SessionDep,
    response: Response,
    body: RotateIn | None = None,
) -> KeyMadeOut:
    """A new key in the place of this one, which works on for `overlap_seconds`."""
    seconds = (body or RotateIn()).overlap_seconds
    made = await keys.rotate_key(session, actor=actor, project_id=project_id, key_id=key_id, overlap_seconds=seconds)
    response.headers["Cache-Control"] = "no-store"
    return key_made(made, actor.user.email)


@router.delete("/{key_id}", status_code=204, responses=errors(401, 403, 404, 422, 503))
async def revoke_key(project_id: uuid.UUID, key_id: uuid.UUID, actor: PersonActor, session: SessionDep) -> None:
    """End a key at once. It stays in the list."""
    await keys.revoke_key(session, actor=actor, project_id=project_id, key_id=key_id)
