"""Projects and organizations in a browser: the list, making them, their activity, renaming and deleting."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError
from backend.core.forms import checked, read_form
from backend.core.web import redirect, render
from backend.orgs import audit, organizations, service
from backend.orgs.access import Actor, PageActor, Permission, visible
from backend.orgs.models import ApiKey, Organization, Project
from backend.orgs.pages_frame import Frame, PlaceOfPage, base_of, frame_of, problem_of, render_tab, said
from backend.orgs.schemas import NameIn, ProjectIn
from backend.orgs.words import counted

router = APIRouter(include_in_schema=False)

ACTIVITY_SIZE = 50

#: Say what is in a project, as `12 videos (3.4 GB)`, or "" for nothing: each domain for what is its own.
Contents = Callable[[AsyncSession, Actor, uuid.UUID], Awaitable[str]]
contents: list[Contents] = []


# --- the list --------------------------------------------------------------------------------------------------------


@router.get("/projects")
async def index(request: Request, actor: PageActor, session: SessionDep) -> Response:
    """All projects one reaches: the personal one, one's own, and by organization."""
    return await _index(request, actor, session)


@router.post("/projects")
async def create_project(request: Request, actor: PageActor) -> Response:
    """A new project: one's own, or of an organization."""
    form = await read_form(request)
    values, problems = checked(ProjectIn, form, optional=["organization_id"])
    try:
        if values is not None:
            async with transaction() as session:
                made = await service.create_project(session, actor=actor, **values.model_dump())
            return redirect(request, f"/projects/{made.id}/members?done=made")
    except AppError as error:
        problems = error.fields or {"name": problem_of(error)}
    async with transaction() as session:
        return await _index(request, actor, session, asked="project", form=form, problems=problems, status=422)


@router.post("/orgs")
async def create_organization(request: Request, actor: PageActor) -> Response:
    """A new organization; its maker owns it."""
    form = await read_form(request)
    values, problems = checked(NameIn, form)
    async with transaction() as session:
        if values is None:
            return await _index(request, actor, session, asked="org", form=form, problems=problems, status=422)
        made = await organizations.create_organization(session, actor=actor, name=values.name)
    return redirect(request, f"/orgs/{made.id}/members?done=made")


async def _index(
    request: Request,
    actor: Actor,
    session: AsyncSession,
    *,
    asked: str = "",
    form: dict[str, str] | None = None,
    problems: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    projects = await service.list_projects(session, actor=actor)
    mine = await organizations.list_organizations(session, actor=actor)
    return render(
        request,
        "orgs/index.html",
        status=status,
        page="projects",
        address="/projects",
        own=[each for each in projects if each.owner_id == actor.user_id],
        shared=[each for each in projects if not _is_in(each, mine) and each.owner_id != actor.user_id],
        organizations=[(each, [project for project in projects if _is_in(project, [each])]) for each in mine],
        may_add=[each for each in mine if actor.may_in(Permission.MANAGE, each.id)],
        asked=asked or request.query_params.get("ask", ""),
        wanted=request.query_params.get("organization", ""),
        form=form or {},
        problems=problems or {},
        message=said(request.query_params.get("done", "")),
    )


def _is_in(project: Project, places: Sequence[Organization]) -> bool:
    return any(project.organization_id == each.id for each in places)


# --- where a place begins --------------------------------------------------------------------------------------------


@router.get("/projects/{project_id}")
async def project(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Its first tab."""
    place.require(actor, Permission.VIEW)
    return redirect(request, f"{base_of(place)}/members")


@router.get("/orgs/{organization_id}")
@router.get("/orgs/{organization_id}/projects")
async def organization(request: Request, place: PlaceOfPage, actor: PageActor, session: SessionDep) -> Response:
    """The projects of an organization."""
    frame = await frame_of(session, actor, place, Permission.VIEW)
    projects = await service.list_projects(session, actor=actor)
    theirs = [each for each in projects if each.organization_id == place.id]
    return render_tab(request, "orgs/organization.html", frame, "projects", projects=theirs)


# --- activity --------------------------------------------------------------------------------------------------------


@router.get("/projects/{project_id}/activity")
@router.get("/orgs/{organization_id}/activity")
async def activity(
    request: Request,
    place: PlaceOfPage,
    actor: PageActor,
    session: SessionDep,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> Response:
    """Who did what, newest first."""
    frame = await frame_of(session, actor, place, Permission.MANAGE)
    found = await audit.of_place(session, actor=actor, place=place, limit=ACTIVITY_SIZE + 1, before=before)
    entries = found[:ACTIVITY_SIZE]
    older = entries[-1].id if len(found) > ACTIVITY_SIZE else None
    return render_tab(request, "orgs/activity.html", frame, "activity", entries=entries, older=older, before=before)


# --- settings --------------------------------------------------------------------------------------------------------


@router.get("/projects/{project_id}/settings")
@router.get("/orgs/{organization_id}/settings")
async def settings_page(request: Request, place: PlaceOfPage, actor: PageActor, session: SessionDep) -> Response:
    """Its name, and how it goes."""
    frame = await frame_of(session, actor, place, Permission.VIEW)
    return await _settings(request, session, actor, frame)


@router.post("/projects/{project_id}/settings")
@router.post("/orgs/{organization_id}/settings")
async def rename(request: Request, place: PlaceOfPage, actor: PageActor, session: SessionDep) -> Response:
    """Call it something else."""
    frame = await frame_of(session, actor, place, Permission.MANAGE)
    form = await read_form(request)
    values, problems = checked(NameIn, form)
    if values is None:
        return await _settings(request, session, actor, frame, form=form, problems=problems, status=422)
    if place.kind == "project":
        await service.rename_project(session, actor=actor, project_id=place.id, name=values.name)
    else:
        await organizations.rename_organization(session, actor=actor, organization_id=place.id, name=values.name)
    return redirect(request, f"{frame.base}/settings?done=renamed")


@router.post("/projects/{project_id}/delete")
@router.post("/orgs/{organization_id}/delete")
async def delete(request: Request, place: PlaceOfPage, actor: PageActor) -> Response:
    """Out of sight at once, with all that is in it."""
    place.require(actor, Permission.OWN)
    try:
        async with transaction() as session:
            if place.kind == "project":
                await service.delete_project(session, actor=actor, project_id=place.id)
            else:
                await organizations.delete_organization(session, actor=actor, organization_id=place.id)
    except AppError as error:
        problem = problem_of(error)
        async with transaction() as session:
            frame = await frame_of(session, actor, place, Permission.OWN)
            return await _settings(request, session, actor, frame, problem=problem, status=error.status)
    return redirect(request, "/projects?done=deleted")


async def _settings(
    request: Request,
    session: AsyncSession,
    actor: Actor,
    frame: Frame,
    *,
    form: dict[str, str] | None = None,
    problems: dict[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    inside = await _inside(session, actor, frame) if frame.may(Permission.OWN) else []
    return render_tab(
        request,
        "orgs/settings.html",
        frame,
        "settings",
        form=form or {"name": frame.project.name if frame.project else frame.name},
        problems=problems or {},
        problem=problem,
        status=status,
        inside=inside,
    )


async def _inside(session: AsyncSession, actor: Actor, frame: Frame) -> list[str]:
    """What goes with it, each with its number."""
    if frame.place.kind == "organization":
        number = sum(
            each.organization_id == frame.place.id for each in await service.list_projects(session, actor=actor)
        )
        return [counted(number, "project")] if number else []
    keys = visible(ApiKey, actor).where(ApiKey.project_id == frame.place.id, ApiKey.revoked_at.is_(None))
    number = await session.scalar(select(func.count()).select_from(keys.subquery())) or 0
    parts = [await count(session, actor, frame.place.id) for count in contents]
    return [part for part in [*parts, counted(number, "API key") if number else ""] if part]
