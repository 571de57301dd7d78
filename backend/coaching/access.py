"""Who reaches which sessions: coaches their own, members of an organization their organization's, nobody another's.

What one may do in a project is decided in `orgs/access`; this adds the two roles, by whose projects they are.
"""

import uuid

from sqlalchemy import Select, false, select
from sqlalchemy.ext.asyncio import AsyncSession

from backend.coaching.models import Analysis, CoachSession
from backend.core.errors import Forbidden, NotFound, ValidationFailed
from backend.orgs.access import Actor, Permission, require, visible
from backend.orgs.models import Project

COACH = "coach_pro_plus"  #: sessions in one's own projects, and in those one was made a member of
MEMBER = "org_pro"  #: sessions in projects of organizations, and no coach's
UPLOADS = "video_upload_enabled"  #: the feature that lets one send videos

NO_SESSION = "Video session not found"
NO_ANALYSIS = "Analysis job not found"
NOT_YOURS = "You don't have access to this session"


def require_role(actor: Actor) -> None:
    """Raises Forbidden: for somebody who is neither a coach nor of an organization that coaches."""
    if not {COACH, MEMBER} & set(actor.user.roles):
        raise Forbidden("Sessions are for people with the role coach_pro_plus or org_pro. Ask an admin for it.")


def reached(actor: Actor, permission: Permission = Permission.VIEW) -> Select[uuid.UUID]:
    """The ids of the projects whose sessions one of the actor's roles reaches."""
    projects = visible(Project, actor, permission).with_only_columns(Project.id)
    roles = set(actor.user.roles)
    if COACH in roles:
        return projects
    return projects.where(Project.organization_id.is_not(None) if MEMBER in roles else false())


def sessions_of(actor: Actor) -> Select[CoachSession]:
    """The sessions one sees."""
    return visible(CoachSession, actor).where(CoachSession.project_id.in_(reached(actor)))


async def session_of(
    session: AsyncSession,
    actor: Actor,
    session_id: uuid.UUID,
    *,
    permission: Permission = Permission.VIEW,
    for_update: bool = False,
) -> CoachSession:
    """Raises Forbidden (no role, another role's project, or not allowed to do this) and NotFound."""
    require_role(actor)
    query = visible(CoachSession, actor).where(CoachSession.id == session_id)
    found = await session.scalar(query.with_for_update() if for_update else query)
    if found is None:
        raise NotFound(NO_SESSION)
    await _may(session, actor, found.project_id, permission)
    return found


async def analysis_of(
    session: AsyncSession,
    actor: Actor,
    analysis_id: uuid.UUID,
    *,
    permission: Permission = Permission.VIEW,
    for_update: bool = False,
) -> Analysis:
    """The same for an analysis."""
    require_role(actor)
    query = visible(Analysis, actor).where(Analysis.id == analysis_id)
    found = await session.scalar(query.with_for_update() if for_update else query)
    if found is None:
        raise NotFound(NO_ANALYSIS)
    await _may(session, actor, found.project_id, permission)
    return found


async def _may(session: AsyncSession, actor: Actor, project_id: uuid.UUID, permission: Permission) -> None:
    if await session.scalar(reached(actor).where(Project.id == project_id)) is None:
        raise Forbidden(NOT_YOURS)
    if not actor.may(permission, project_id):
        raise Forbidden(NOT_YOURS if permission is Permission.VIEW else None)


async def project_for(session: AsyncSession, actor: Actor, project_id: uuid.UUID | None) -> Project:
    """The project of a new session: the named one; a key's; a coach's own; an organization's, when there is one only.

    Raises Forbidden, and ValidationFailed for one that the actor does not see or when it has to be named.
    """
    require_role(actor)
    if project_id is not None and project_id not in actor.project_ids:
        raise ValidationFailed(fields={"project_id": "There is no such project, or you are not in it"})
    if project_id is None and (actor.key is not None or COACH in actor.user.roles):
        project_id = actor.personal_project_id
    if project_id is None:
        found = (await session.scalars(reached(actor, Permission.EDIT).limit(2))).all()
        if not found:
            raise Forbidden("You are in no organization's project that takes sessions.")
        if len(found) > 1:
            raise ValidationFailed(fields={"project_id": "Say in which project: you are in several"})
        project_id = found[0]
    require(actor, Permission.VIEW, project_id)
    await _may(session, actor, project_id, Permission.EDIT)
    return (await session.scalars(select(Project).where(Project.id == project_id))).one()


def may_upload(actor: Actor, project: Project) -> bool:
    """Whether sending videos is switched on, for the person or for the project's organization."""
    if UPLOADS in actor.user.features:
        return True
    return project.organization_id is not None and actor.has_feature(UPLOADS, project.organization_id)


def require_uploads(actor: Actor, project: Project) -> None:
    """Raises Forbidden: where sending videos is not switched on."""
    if not may_upload(actor, project):
        raise Forbidden("Sending videos into sessions is not switched on for you (video_upload_enabled).")
