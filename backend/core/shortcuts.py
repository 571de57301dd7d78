"""Straight to the route of an address without parameters, past the hundreds of others that a search would ask first."""

from collections.abc import Iterable, Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


class Shortcuts(BaseRoute):
    """Goes before all other routes and finds what searching them finds: that is how its table is made."""

    def __init__(self, routes: Sequence[BaseRoute], addresses: Iterable[tuple[str, str]]) -> None:
        """`addresses` are methods with paths."""
        self._found: dict[tuple[str, str], BaseRoute] = {}
        for method, path in addresses:
            for route in routes:
                if route.matches({"type": "http", "method": method, "path": path, "headers": []})[0] is Match.FULL:
                    self._found[method, path] = route
                    break

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and (scope["method"], scope["path"]) in self._found and not scope.get("root_path"):
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._found[scope["method"], scope["path"]].handle(scope, receive, send)
