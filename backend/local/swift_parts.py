"""What Swift loads by name from its configuration: a small cache, headers for every answer, and a log handler.

Kept apart from `swift_server`, which runs as `__main__`, so that these are never imported twice.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

Environ: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

LIMIT = 20_000


class Cache:
    """The part of a memcached client that Swift's proxy uses, in this process: the others have their own.

    So what is not there is not remembered: another process may be making it.
    """

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        """The value, or None when it is absent or too old."""
        value, until = self._values.get(key, (None, 0.0))
        if until and until < time.time():
            del self._values[key]
            return None
        return value

    def set(
        self,
        key: str,
        value: Any,
        serialize: bool = True,
        time: float = 0,
        min_compress_len: int = 0,
        raise_on_error: bool = False,
    ) -> None:
        """Keep a value for `time` seconds (0: for good); not that an account or a container is missing."""
        if isinstance(value, dict) and value.get("status") == HTTPStatus.NOT_FOUND:
            return
        if len(self._values) >= LIMIT:
            self._values.clear()
        self._values[key] = (value, now() + time if time else 0.0)

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """Add to a counter that starts at 0, never below 0; answers the new value."""
        total = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, total, time=time)
        return total

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """Subtract from a counter."""
        return self.incr(key, -delta, time)

    def delete(self, key: str, server_key: str | None = None) -> None:
        """Forget a value."""
        self._values.pop(key, None)


def now() -> float:
    """Seconds since the epoch; `Cache.set` has a parameter that hides the module `time`."""
    return time.time()


def cache_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[App], App]:
    """A paste filter that offers one Cache to everything behind it."""
    cache = Cache()

    def put_in_front(app: App) -> App:
        def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return answer

    return put_in_front


def nosniff_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[App], App]:
    """A paste filter that forbids browsers to take a file for something else than its type says."""

    def put_in_front(app: App) -> App:
        def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                return start_response(status, [*headers, ("X-Content-Type-Options", "nosniff")], *more)

            return app(environ, start)

        return answer

    return put_in_front


def origins_factory(global_conf: dict[str, str], *, origins: str, **local_conf: str) -> Callable[[App], App]:
    """A paste filter that lets the pages of `origins` read every answer.

    Swift itself allows that only where the object's server was asked: what is refused before, as an address that has
    expired, would look like a broken line to a page.
    """
    ours = set(origins.split(", "))

    def put_in_front(app: App) -> App:
        def answer(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            origin = environ.get("HTTP_ORIGIN")

            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
                names = {name.lower() for name, _ in headers}
                if (origin in ours or (origin and "*" in ours)) and "access-control-allow-origin" not in names:
                    headers = [*headers, ("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]
                return start_response(status, headers, *more)

            return app(environ, start)

        return answer

    return put_in_front


def log_to_stderr(
    conf: dict[str, str],
    name: str,
    to_console: bool,
    route: str,
    fmt: str,
    logger: logging.Logger,
    adapted: object,
) -> None:
    """Replace the syslog handler that Swift insists on by one that writes to our log file."""
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s %(server)s %(levelname)s %(message)s",
            defaults={"server": name},
        )
    )
    logger.addHandler(handler)
