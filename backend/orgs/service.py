"""Projects: the personal one comes with each account."""

from sqlalchemy.ext.asyncio import AsyncSession

from backend.accounts import service as accounts
from backend.accounts.models import User
from backend.orgs.access import Actor, visible
from backend.orgs.models import MemberRole, Project, ProjectMember

PERSONAL_NAME = "Personal"


async def create_personal_project(session: AsyncSession, user: User) -> None:
    """Make the project every account starts with; its owner is a member of it."""
    project = Project(name=PERSONAL_NAME, owner_id=user.id, personal=True)
    session.add(project)
    await session.flush()
    session.add(ProjectMember(project_id=project.id, user_id=user.id, role=MemberRole.OWNER))
    await session.flush()


async def list_projects(session: AsyncSession, *, actor: Actor) -> list[Project]:
    """The projects the actor may reach, the personal one first."""
    found = await session.scalars(
        visible(Project, actor).order_by(Project.personal.desc(), Project.created_at, Project.id)
    )
    return list(found)


accounts.on_registered.append(create_personal_project)
