"""The storage for admins' programs."""

from typing import Annotated

from fastapi import APIRouter, Query

from backend.admin.storage.look import look, mend
from backend.admin.storage.schemas import StorageOut
from backend.core.web import errors
from backend.orgs.access import AdminActor, AuditorActor

router = APIRouter(prefix="/api/admin/storage", tags=["admin"])

After = Annotated[str, Query(max_length=1024, description="The key to go on from")]


@router.get("", responses=errors(401, 403, 422, 503), summary="Objects without records, and records without objects")
async def report(actor: AuditorActor, after: After = "") -> StorageOut:
    """Looks for five seconds at most."""
    return StorageOut.of(await look(after=after))


@router.post("/mend", responses=errors(401, 403, 422, 503), summary="Mend what is wrong")
async def mend_storage(actor: AdminActor, after: After = "") -> StorageOut:
    """Removes what belongs to nothing and is old enough; records what belongs to something. It is in the audit log."""
    return StorageOut.of(await mend(actor=actor, after=after))
