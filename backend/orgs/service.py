"""Projects: the personal one comes with each account; more are a person's own, or an organization's."""

import uuid
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts
from backend.accounts.models import User
from backend.core.errors import Forbidden, InvalidState, ValidationFailed
from backend.orgs import audit
from backend.orgs.access import Actor, get_visible, visible
from backend.orgs.models import Organization, Project, ProjectMember
from backend.orgs.roles import Permission, Role

log = structlog.get_logger(__name__)

PERSONAL_NAME = "Personal"

#: Run in the transaction that deletes a project: higher domains see to it that what was in it goes.
on_deleted: list[Callable[[AsyncSession, Actor, Project], Awaitable[None]]] = []


async def create_personal_project(session: AsyncSession, user: User) -> None:
    """Make the project every account starts with; its owner is a member of it."""
    await _add(session, Project(name=PERSONAL_NAME, owner_id=user.id, personal=True))


async def list_projects(session: AsyncSession, *, actor: Actor) -> list[Project]:
    """The projects the actor may reach, the personal one first."""
    own = Project.id == actor.personal_project_id
    found = await session.scalars(visible(Project, actor).order_by(own.desc(), Project.created_at, Project.id))
    return list(found)


async def create_project(
    session: AsyncSession, *, actor: Actor, name: str, organization_id: uuid.UUID | None = None
) -> Project:
    """Make a project of the actor's own, or of an organization in which the actor may manage.

    Raises ValidationFailed for an organization one is not in, Forbidden for one in which one may not.
    """
    if organization_id is None:
        project = await _add(session, Project(name=name, owner_id=actor.user_id, personal=False))
    else:
        if organization_id in actor.org_roles and not actor.may_in(Permission.MANAGE, organization_id):
            raise Forbidden
        known = organization_id in actor.org_roles
        # Held, so that nobody deletes it meanwhile.
        hold = {"read": True, "key_share": True}
        if not known or await session.get(Organization, organization_id, with_for_update=hold) is None:
            raise ValidationFailed(fields={"organization_id": "There is no such organization, or you are not in it"})
        project = await _add(session, Project(name=name, organization_id=organization_id, personal=False))
    await _note(session, actor, project, "project.create", {"name": name})
    return project


async def rename_project(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID, name: str) -> Project:
    """Call it something else. Raises NotFound, Forbidden."""
    project = await get_visible(session, Project, actor, project_id, permission=Permission.MANAGE, for_update=True)
    before, project.name = project.name, name
    await session.flush()
    await session.refresh(project)
    await _note(session, actor, project, "project.rename", {"before": before, "after": name})
    return project


async def delete_project(session: AsyncSession, *, actor: Actor, project_id: uuid.UUID) -> None:
    """Put a project out of sight at once, for good; a job removes all that was in it.

    Raises NotFound, Forbidden, InvalidState for a personal one.
    """
    project = await get_visible(session, Project, actor, project_id, permission=Permission.OWN, for_update=True)
    if project.personal:
        raise InvalidState("A personal project stays as long as its account. Delete its videos instead.")
    if not on_deleted:
        raise RuntimeError("no domain has said how what is in a project goes; import backend.videos.removal first")
    project.deleted_at = func.now()
    await session.flush()
    await _note(session, actor, project, "project.delete", {"name": project.name})
    for hook in on_deleted:
        await hook(session, actor, project)
    log.info("project.deleted", project_id=str(project_id))


async def _add(session: AsyncSession, project: Project) -> Project:
    session.add(project)
    await session.flush()
    if project.owner_id is not None:
        session.add(ProjectMember(project_id=project.id, user_id=project.owner_id, role=Role.OWNER))
        await session.flush()
    await session.refresh(project)
    return project


async def _note(session: AsyncSession, actor: Actor, project: Project, action: str, detail: dict[str, str]) -> None:
    await audit.record(
        session,
        actor=actor,
        action=action,
        object_type="project",
        object_id=project.id,
        project_id=project.id,
        detail=detail,
    )


accounts.on_registered.append(create_personal_project)
