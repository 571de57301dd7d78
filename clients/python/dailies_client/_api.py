"""One request to the platform: who asks, what an answer means, and when to ask again."""

import json as jsons
import random
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from dailies_client._flows import Alone, Answer, Emit, Exchange, Flow, Open, Request, Sleep, Values
from dailies_client._parsing import parse, parse_list
from dailies_client.errors import (
    ApiError,
    ConnectionFailed,
    DailiesError,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    class_for,
)
from dailies_client.models import Tokens

T = TypeVar("T")
OnTokens = Callable[[Tokens | None], None]

_SAFE = {"GET", "HEAD"}
_ID = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_BACKOFF_SECONDS = 16.0
#: A token is renewed when it has no longer than this.
_RENEW_BEFORE = timedelta(seconds=30)
_PAGE = 100


class Api:
    """What a client knows: the address, its credentials, and how patient it is."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        tokens: Tokens | None,
        on_tokens: OnTokens | None,
        timeout: float,
        retries: int,
        max_wait: float,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError("base_url begins with http:// or https://")
        if api_key is not None and tokens is not None:
            raise ValueError("give api_key or tokens, not both")
        self.base_url = base_url.rstrip("/")
        self.api_key = api_key
        self.tokens = tokens
        self.timeout = timeout
        self.retries = retries
        self.max_wait = max_wait
        self._on_tokens = on_tokens

    def keep(self, tokens: Tokens | None) -> None:
        """Use these from now on, and tell whoever stores them."""
        self.tokens = tokens
        if self._on_tokens is not None:
            self._on_tokens(tokens)

    def keep_answered(self, answered: Any) -> None:
        """Tokens as `register`, `login` and `refresh` answer them. Raises UnexpectedAnswer."""
        try:
            ends = datetime.now(UTC) + timedelta(seconds=answered["expires_in"])
            tokens = Tokens(answered["token"], answered["refresh_token"], ends)
        except (TypeError, KeyError) as error:
            raise UnexpectedAnswer("these are no tokens") from error
        self.keep(tokens)

    # --- requests ----------------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        effect: type[Exchange] | type[Open] = Exchange,
        anonymous: bool = False,
        seconds: float | None = None,
    ) -> Flow[Answer]:
        """An answer that says yes.

        Unsafe requests carry an Idempotency-Key, so that they can be sent again whatever became of the first.
        Raises ApiError, ConnectionFailed: after the last try.
        """
        fixed = dict(headers or {})
        if method not in _SAFE:
            fixed["Idempotency-Key"] = str(uuid.uuid4())
        known = {name: value for name, value in (params or {}).items() if value is not None}
        tried, renewed = 0, False
        while True:
            used = None if anonymous else self.tokens
            if used and used.expires_at - datetime.now(UTC) < _RENEW_BEFORE:
                yield Alone(self._renew(used))
                used = self.tokens
            sent = {**fixed, **({} if anonymous else self._credentials(used))}
            request = Request(method, self.base_url + path, known, sent, json, seconds=seconds or self.timeout)
            error: DailiesError
            try:
                answer: Answer = yield effect(request)
                if answer.status < 300:
                    return answer
                error = error_of(answer)
            except ConnectionFailed as failed:
                error = failed
            if used and not renewed and isinstance(error, Unauthenticated) and error.code == "unauthenticated":
                renewed = True
                yield Alone(self._renew(used))
                continue
            pause = self.pause_after(error, tried)
            if pause is None:
                raise error
            tried += 1
            yield Sleep(pause)

    def json(self, method: str, path: str, **given: Any) -> Flow[Any]:
        """What it says, None when it is empty. Raises UnexpectedAnswer, and what `send` does."""
        answer = yield from self.send(method, path, **given)
        if not answer.content:
            return None
        try:
            return jsons.loads(answer.content)
        except ValueError as error:
            raise UnexpectedAnswer(f"{method} {path} did not answer JSON") from error

    def one(self, model: type[T], method: str, path: str, **given: Any) -> Flow[T]:
        return parse(model, (yield from self.json(method, path, **given)))

    def many(self, model: type[T], path: str, name: str, **given: Any) -> Flow[list[T]]:
        """Of a list that comes whole."""
        return parse_list(model, _member((yield from self.json("GET", path, **given)), name))

    def pages(self, model: type[T], path: str, name: str, params: Mapping[str, Any]) -> Values[T]:
        """Of a list that comes in pages, one after the other: the next is asked for when it is needed."""
        cursor = None
        while True:
            page = yield from self.json("GET", path, params={"limit": _PAGE, **params, "cursor": cursor})
            for each in parse_list(model, _member(page, name)):
                yield Emit(each)
            cursor = _member(_member(page, "pagination"), "next_cursor")
            if cursor is None:
                return

    # --- patience ----------------------------------------------------------------------------------------------------

    def pause_after(self, error: DailiesError, tried: int) -> float | None:
        """The seconds to wait before it is tried again, None when it is not."""
        asked = error.retry_after if isinstance(error, ApiError) else None
        if tried >= self.retries or not _is_passing(error) or (asked or 0) > self.max_wait:
            return None
        return max(asked or 0, self.backoff(tried))

    def backoff(self, tried: int) -> float:
        """Seconds: longer each time, and not the same for all who were cut off together."""
        return min(0.25 * 2.0**tried, _LONGEST_BACKOFF_SECONDS) * random.uniform(0.5, 1.5)  # noqa: S311

    # --- credentials -------------------------------------------------------------------------------------------------

    def _credentials(self, tokens: Tokens | None) -> dict[str, str]:
        if self.api_key is not None:
            return {"X-API-Key": self.api_key}
        return {"Authorization": f"Bearer {tokens.token}"} if tokens else {}

    def _renew(self, used: Tokens) -> Flow[None]:
        if self.tokens is not used:  # while this one waited for its turn, another did it
            return
        body = {"refresh_token": used.refresh_token}
        self.keep_answered((yield from self.json("POST", "/api/auth/refresh", json=body, anonymous=True)))


def segment(given: str) -> str:
    """An id as a part of a path, where it must not lead elsewhere. Raises ValueError."""
    if not _ID.fullmatch(given):
        raise ValueError(f"this is no id: {given!r}")
    return given


def _is_passing(error: DailiesError) -> bool:
    if isinstance(error, ApiError) and error.code == "idempotency_in_progress":
        return True
    return isinstance(error, ConnectionFailed | RateLimited | Unavailable)


def error_of(answer: Answer) -> DailiesError:
    """The exception that an answer which does not say yes is."""
    if answer.status < 400:
        where = answer.headers.get("location", "elsewhere")
        return UnexpectedAnswer(f"the server answered {answer.status} and points to {where}: is base_url right?")
    try:
        said = jsons.loads(answer.content)["error"]
        code, message, fields = str(said["code"]), str(said["message"]), said.get("fields")
    except (ValueError, TypeError, LookupError):  # not of the platform, but of something before it
        code, message, fields = "http_error", answer.content[:200].decode(errors="replace"), None
    return class_for(answer.status, code)(
        answer.status,
        code,
        message,
        request_id=answer.headers.get("x-request-id"),
        fields=fields,
        retry_after=_seconds(answer.headers.get("retry-after")),
    )


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _member(data: Any, name: str) -> Any:
    try:
        return data[name]
    except (TypeError, LookupError) as error:
        raise UnexpectedAnswer(f"the answer has no {name!r}") from error
