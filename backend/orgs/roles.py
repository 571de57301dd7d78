"""What a member may do, and what a key may do: the one table of both."""

from collections.abc import Mapping
from enum import StrEnum


class Permission(StrEnum):
    """What may be done in a project, or in an organization."""

    VIEW = "view"  #: see what is there
    EDIT = "edit"  #: upload, change, delete, retry, cancel
    TASKS = "tasks"  #: the task service
    MANAGE = "manage"  #: members, keys, webhooks, the name
    OWN = "own"  #: delete it, and make owners


class Role(StrEnum):
    """What somebody is in a project or an organization; each may do all that the one before it may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    @property
    def to_grant(self) -> Permission:
        """What one needs to give somebody this role, or to take it."""
        return Permission.OWN if self is Role.OWNER else Permission.MANAGE


class Scope(StrEnum):
    """What a key was made for. Whatever it says, a key may do no more than its maker may now."""

    READ = "read"
    WRITE = "write"
    TASKS = "tasks"
    ADMIN = "admin"


PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.EDITOR: frozenset({Permission.VIEW, Permission.EDIT, Permission.TASKS}),
    Role.ADMIN: frozenset({Permission.VIEW, Permission.EDIT, Permission.TASKS, Permission.MANAGE}),
    Role.OWNER: frozenset(Permission),
}

OF_SCOPE: Mapping[Scope, frozenset[Permission]] = {
    Scope.READ: frozenset({Permission.VIEW}),
    Scope.WRITE: frozenset({Permission.VIEW, Permission.EDIT}),
    Scope.TASKS: frozenset({Permission.VIEW, Permission.TASKS}),
    Scope.ADMIN: frozenset({Permission.VIEW, Permission.EDIT, Permission.MANAGE}),
}


def higher(one: Role | None, other: Role) -> Role:
    """Of two roles the one that may do more."""
    return other if one is None or other.rank > one.rank else one
