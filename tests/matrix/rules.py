"""What the lines of the table are made of, and what roles and scopes permit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a request ends, as far as permission goes."""

    ALLOWED = "allowed"
    UNAUTHENTICATED = "unauthenticated"  #: 401, or on to the login page
    FORBIDDEN = "forbidden"  #: 403
    MISSING = "missing"  #: 404, or what an id in a body gets
    BROKEN = "broken"  #: anything else, never expected


@dataclass(frozen=True)
class Rule:
    """Whom a route is open to.

    `who`: public (everybody), guest (everybody, but no key), anybody (people and keys), person (no keys), auditor and
    admin (of the platform), account (a person, about themselves), link (a person who has it), holder (whoever has it,
    but no key), token (who has a secret of the installation's).
    """

    who: str
    needs: str = ""  #: a permission in the project or organization that the route's ids are of


@dataclass(frozen=True)
class Route:
    """A line of the table."""

    method: str
    path: str
    inside: str = ""  #: the id in its body or its query

    @property
    def names(self) -> list[str]:
        return re.findall(r"{(\w+)(?::path)?}", self.path)

    @property
    def is_api(self) -> bool:
        return self.path.startswith("/api/") or self.path in ("/me", "/health", "/ready", "/metrics", "/openapi.json")

    @property
    def is_safe(self) -> bool:
        return self.method == "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f" {{{self.inside}}}" if self.inside else "")


OF_ROLE: Mapping[str, frozenset[str]] = {
    "viewer": frozenset({"view"}),
    "editor": frozenset({"view", "edit", "tasks"}),
    "admin": frozenset({"view", "edit", "tasks", "manage"}),
    "owner": frozenset({"view", "edit", "tasks", "manage", "own"}),
}
OF_SCOPE: Mapping[str, frozenset[str]] = {
    "read": frozenset({"view"}),
    "write": frozenset({"view", "edit"}),
    "tasks": frozenset({"view", "tasks"}),
    "admin": frozenset({"view", "edit", "manage"}),
}
