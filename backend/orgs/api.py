"""Projects for programs."""

from fastapi import APIRouter

from backend.core.db import SessionDep
from backend.core.web import errors
from backend.orgs import service
from backend.orgs.access import CurrentActor
from backend.orgs.schemas import ProjectOut, ProjectsOut

router = APIRouter(tags=["projects"])


@router.get("/api/projects", responses=errors(401, 503))
async def list_projects(actor: CurrentActor, session: SessionDep) -> ProjectsOut:
    """The projects one may reach, the personal one first."""
    projects = await service.list_projects(session, actor=actor)
    return ProjectsOut(projects=[ProjectOut.model_validate(project) for project in projects])
