"""Rows as the API shows them."""

from collections.abc import Sequence

from backend.orgs import keys
from backend.orgs.access import Actor
from backend.orgs.invitations import Shown, state_of
from backend.orgs.keys import Made
from backend.orgs.members import Member
from backend.orgs.models import ApiKey, AuditEntry, Invitation, Organization, Project
from backend.orgs.roles import PERMISSIONS, Permission, Role, Scope
from backend.orgs.schemas import (
    DeedOut,
    DeedsOut,
    InvitationOut,
    InvitationShownOut,
    KeyMadeOut,
    KeyOut,
    MemberOut,
    OrganizationOut,
    ProjectOut,
)


def project_out(project: Project, actor: Actor) -> ProjectOut:
    """A project; one that the actor has just made is not yet among those of the request."""
    role = actor.roles.get(project.id) or _of_maker(project, actor)
    return ProjectOut(
        id=project.id,
        name=project.name,
        personal=project.personal,
        organization_id=project.organization_id,
        role=role,
        permissions=[each for each in Permission if each in PERMISSIONS[role] and actor.in_scope(each)],
        created_at=project.created_at,
    )


def _of_maker(project: Project, actor: Actor) -> Role:
    return actor.org_roles[project.organization_id] if project.organization_id else Role.OWNER


def organization_out(organization: Organization, actor: Actor) -> OrganizationOut:
    """An organization; whoever has just made it is its owner."""
    role = actor.org_roles.get(organization.id, Role.OWNER)
    return OrganizationOut(
        id=organization.id,
        name=organization.name,
        features=organization.features,
        role=role,
        permissions=[each for each in Permission if each in PERMISSIONS[role]],
        created_at=organization.created_at,
    )


def member_out(member: Member) -> MemberOut:
    return MemberOut(
        user_id=member.user.id,
        email=member.user.email,
        name=member.user.name,
        role=member.role,
        inherited=member.inherited,
        since=member.since,
    )


def invitation_out(invitation: Invitation, created_by: str) -> InvitationOut:
    return InvitationOut(
        id=invitation.id,
        role=Role(invitation.role),
        email=invitation.email,
        state=state_of(invitation),
        created_by=created_by,
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
        accepted_at=invitation.accepted_at,
    )


def invitation_shown(shown: Shown) -> InvitationShownOut:
    return InvitationShownOut(
        kind=shown.place.kind,
        name=shown.name,
        role=Role(shown.invitation.role),
        invited_by=shown.invited_by,
        state=shown.state,
        expires_at=shown.invitation.expires_at,
    )


def key_out(key: ApiKey, created_by: str) -> KeyOut:
    return KeyOut(
        id=key.id,
        project_id=key.project_id,
        name=key.name,
        prefix=keys.prefix_of(key),
        scopes=[Scope(scope) for scope in key.scopes],
        state=keys.state_of(key),
        created_by=created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        replaces_id=key.replaces_id,
    )


def key_made(made: Made, created_by: str) -> KeyMadeOut:
    return KeyMadeOut(**key_out(made.key, created_by).model_dump(), key=made.text)


def deeds_out(found: Sequence[AuditEntry], limit: int) -> DeedsOut:
    """A page of `limit` from one entry more than that."""
    entries = [DeedOut.model_validate(entry) for entry in found[:limit]]
    return DeedsOut(entries=entries, next_before=entries[-1].id if len(found) > limit else None)
