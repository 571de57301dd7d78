"""What the routes of projects, organizations, members, invitations and keys take and give."""

import re
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from backend.accounts import emails
from backend.core.web import Line, StrictModel
from backend.orgs.invitations import InvitationState
from backend.orgs.roles import Permission, Role, Scope

Name = Annotated[Line, Field(max_length=200)]


# --- projects --------------------------------------------------------------------------------------------------------


class ProjectIn(StrictModel):
    """A new project: one's own, or of an organization."""

    name: Name
    organization_id: uuid.UUID | None = None


class NameIn(StrictModel):
    """What it is to be called."""

    name: Name


class ProjectOut(BaseModel):
    """A project its reader may see. Each account has one personal project. `permissions` is what the reader may do."""

    id: uuid.UUID
    name: str
    personal: bool
    organization_id: uuid.UUID | None
    role: Role
    permissions: list[Permission]
    created_at: datetime


class ProjectsOut(BaseModel):
    """All projects one may reach, the personal one first."""

    projects: list[ProjectOut]


# --- organizations ---------------------------------------------------------------------------------------------------


class OrganizationOut(BaseModel):
    """An organization its reader is in. `permissions` is what the reader may do."""

    id: uuid.UUID
    name: str
    features: list[str]
    role: Role
    permissions: list[Permission]
    created_at: datetime


class OrganizationsOut(BaseModel):
    """All organizations one is in, by name."""

    organizations: list[OrganizationOut]


# --- members ---------------------------------------------------------------------------------------------------------


class RoleIn(StrictModel):
    """Another role for a member."""

    role: Role


class MemberOut(BaseModel):
    """Somebody's role; `inherited` when it comes with the project's organization, where it is changed."""

    user_id: uuid.UUID
    email: str
    name: str
    role: Role
    inherited: bool
    since: datetime


class MembersOut(BaseModel):
    """Everybody with a role, oldest first; who has one by project and organization is there twice."""

    members: list[MemberOut]


# --- invitations -----------------------------------------------------------------------------------------------------


class InvitationIn(StrictModel):
    """An invitation. `email` is a note: whoever opens the link first is the one who is invited."""

    role: Role = Role.VIEWER
    email: Annotated[Line, Field(max_length=320), AfterValidator(emails.normalized)] | None = None
    expires_in_days: int = Field(7, ge=1, le=90, strict=True)


class InvitationForm(InvitationIn):
    """The same from a page: the numbers of a form are text."""

    expires_in_days: int = Field(7, ge=1, le=90)


class InvitationOut(BaseModel):
    """An invitation as those who manage see it."""

    id: uuid.UUID
    role: Role
    email: str
    state: InvitationState
    created_by: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None


class InvitationsOut(BaseModel):
    """Newest first, and last those that have ended: up to two hundred."""

    invitations: list[InvitationOut]


class InvitationMadeOut(InvitationOut):
    """A new invitation, with the link: nobody can see it again."""

    token: str
    url: str


class InvitationShownOut(BaseModel):
    """An invitation as whoever has its link sees it."""

    kind: Literal["project", "organization"]
    name: str
    role: Role
    invited_by: str
    state: InvitationState
    expires_at: datetime


class AcceptedOut(BaseModel):
    """Where one is a member now."""

    kind: Literal["project", "organization"]
    id: uuid.UUID
    name: str


# --- keys ------------------------------------------------------------------------------------------------------------


def _written_out(value: object) -> object:
    """Numbers would be taken for seconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d", value)):
        raise ValueError("must be a time like 2030-12-31T23:59:59Z")
    return value


class KeyIn(StrictModel):
    """A new key: `read` may look, `write` also change, `tasks` use the task service, `admin` change and manage."""

    name: Name
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    expires_at: Annotated[AwareDatetime, BeforeValidator(_written_out)] | None = None


class RotateIn(StrictModel):
    """For how long both keys work, in seconds; a day when nothing is said."""

    overlap_seconds: int = Field(24 * 3600, ge=0, le=90 * 24 * 3600, strict=True)


class RotateForm(RotateIn):
    """The same from a page."""

    overlap_seconds: int = Field(24 * 3600, ge=0, le=90 * 24 * 3600)


class KeyOut(BaseModel):
    """A key without its secret. It can do no more than its maker may at the moment."""

    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    prefix: str
    scopes: list[Scope]
    state: Literal["active", "expired", "revoked"]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaces_id: uuid.UUID | None


class KeysOut(BaseModel):
    """Newest first, and last those that have ended."""

    keys: list[KeyOut]


class KeyMadeOut(KeyOut):
    """A new key, with its text: nobody can see it again."""

    key: str


# --- the audit log ---------------------------------------------------------------------------------------------------


class DeedOut(BaseModel):
    """One entry of a project's or an organization's audit log."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor_id: uuid.UUID | None
    actor_email: str
    action: str
    object_type: str
    object_id: str
    project_id: uuid.UUID | None
    detail: dict[str, Any]


class DeedsOut(BaseModel):
    """Newest first; older ones are asked for with `next_before`."""

    entries: list[DeedOut]
    next_before: int | None
