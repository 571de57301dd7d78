"""The doctor for programs, and what its page's script calls."""

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse

from backend.admin.doctor import browser
from backend.admin.doctor.alike import digests
from backend.admin.doctor.examination import surgery
from backend.admin.doctor.schemas import ReportOut
from backend.admin.doctor.web import PURPOSE, TOLD_BY, test_events
from backend.core import openapi
from backend.core.errors import Forbidden, Unauthenticated, ValidationFailed
from backend.core.events import STREAM_CONTENT, event_stream
from backend.core.security import read_claim
from backend.core.web import errors
from backend.orgs.access import AdminActor, AuditorActor, identify

router = APIRouter(prefix="/api/admin/doctor", tags=["admin"])


@router.get("", responses=errors(401, 403, 503), summary="What the doctor found lately")
async def report(actor: AuditorActor) -> ReportOut:
    """Runs the checks when the last run is older than half a minute. Takes some seconds then."""
    return ReportOut.of(await surgery.look())


@router.post("", responses=errors(401, 403, 503), summary="Run the doctor now")
async def examine(actor: AdminActor) -> ReportOut:
    """Tries everything again. Small test objects are written to the storage and removed."""
    return ReportOut.of(await surgery.examine())


@router.post("/browser", responses=errors(401, 403, 503), summary="An errand for the page's script")
async def errand(actor: AdminActor) -> browser.Errand:
    return browser.send_out()


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={200: {"content": STREAM_CONTENT}, **errors(401, 403, 503)},
    summary="A short test stream",
)
@openapi.proved_by(*openapi.PERSON)
async def stream(request: Request) -> EventSourceResponse:
    """Five events, 0.4 s apart: for whoever may look, and for the doctor itself."""
    if not _is_the_doctor(request):
        actor = await identify(request)
        if actor is None:
            raise Unauthenticated
        if not actor.may_audit:
            raise Forbidden
    return event_stream(test_events())


@router.get("/settings", include_in_schema=False)
async def started_with(request: Request) -> dict[str, str]:
    """Digests of this process's settings, for the doctor in another process that has our SECRET_KEY."""
    if not _is_the_doctor(request):
        raise Forbidden
    return digests()


def _is_the_doctor(request: Request) -> bool:
    try:
        read_claim(PURPOSE, request.headers.get(TOLD_BY, ""))
    except ValidationFailed:
        return False
    return True
