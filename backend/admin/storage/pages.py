"""The admins' page of the storage. It shows at once; what was found follows."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.admin.storage.look import look, mend
from backend.core.web import render
from backend.orgs.access import AdminPageActor, AuditorPageActor

router = APIRouter(prefix="/admin/storage", include_in_schema=False)

After = Annotated[str, Query(max_length=1024)]

WORDS = {
    "stray": ("Unknown object", "It was never written down, and nothing refers to it."),
    "unclaimed": ("Not claimed", "Sent without an account, and nobody adopted it in time."),
    "unowned": ("Left behind", "What it belonged to is gone."),
    "abandoned": ("Not used", "Made for a video that uses another."),
    "missing": ("Missing", "A video refers to it, and it is not in the storage."),
    "empty": ("Never arrived", "Written down, and nothing came."),
    "open_parts": ("Open parts", "Parts of an upload that is over."),
}


@router.get("")
async def storage(request: Request, actor: AuditorPageActor) -> Response:
    """The page, without waiting for a look."""
    return render(request, "admin/storage.html", page="storage")


@router.get("/findings")
async def findings(request: Request, actor: AuditorPageActor, after: After = "") -> Response:
    """What is wrong, from a key on."""
    return render(request, "admin/_storage.html", seen=await look(after=after), words=WORDS, after=after)


@router.post("/findings")
async def mended(request: Request, actor: AdminPageActor, after: After = "") -> Response:
    """The same, mended."""
    return render(request, "admin/_storage.html", seen=await mend(actor=actor, after=after), words=WORDS, after=after)
