"""The doctor's page. It shows at once; what was found follows, and then what its script found from the browser."""

from fastapi import APIRouter, Request, Response

from backend.admin.doctor import browser
from backend.admin.doctor.examination import surgery
from backend.core.web import render
from backend.orgs.access import AdminPageActor, AuditorPageActor

router = APIRouter(prefix="/admin/doctor", include_in_schema=False)


@router.get("")
async def doctor(request: Request, actor: AuditorPageActor) -> Response:
    """The page, without waiting for a run."""
    return render(request, "admin/doctor.html", page="doctor", group=browser.GROUP)


@router.get("/findings")
async def findings(request: Request, actor: AuditorPageActor) -> Response:
    """What was found lately."""
    return render(request, "admin/_findings.html", report=await surgery.look())


@router.post("/findings")
async def examine(request: Request, actor: AdminPageActor) -> Response:
    """A new run."""
    return render(request, "admin/_findings.html", report=await surgery.examine())


@router.post("/browser")
async def from_browser(request: Request, actor: AdminPageActor, seen: browser.Seen) -> Response:
    """What the script measured, judged."""
    found = await browser.come_back(request, seen)
    return render(request, "admin/_finding_group.html", group=browser.GROUP, findings=found)
