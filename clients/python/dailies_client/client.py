"""`Client` and `AsyncClient`: the same operations, waited for or awaited."""

from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from dailies_client._api import Api, OnTokens
from dailies_client._drivers import AsyncDriver, SyncDriver
from dailies_client._flows import Flow, Group, operation
from dailies_client._jobs import Jobs
from dailies_client._parsing import parse
from dailies_client._projects import Keys, Projects, Webhooks
from dailies_client._tasks import Tasks
from dailies_client._videos import Uploads, Videos
from dailies_client.models import Tokens, User

D = TypeVar("D")

TIMEOUT_SECONDS = 30.0
RETRIES = 6
MAX_WAIT_SECONDS = 60.0


class _Client(Group[D]):
    """What both are made of."""

    videos: Videos[D]
    uploads: Uploads[D]
    jobs: Jobs[D]
    projects: Projects[D]
    keys: Keys[D]
    webhooks: Webhooks[D]
    tasks: Tasks[D]

    def __init__(self, api: Api, driver: D) -> None:
        super().__init__(api, driver)
        self.videos = Videos(api, driver)
        self.uploads = Uploads(api, driver)
        self.jobs = Jobs(api, driver)
        self.projects = Projects(api, driver)
        self.keys = Keys(api, driver)
        self.webhooks = Webhooks(api, driver)
        self.tasks = Tasks(api, driver)

    @property
    def tokens(self) -> Tokens | None:
        """Of the session, to go on with it later; None with a key, and when nobody is logged in."""
        return self._api.tokens

    @operation
    def register(self, email: str, password: str, *, name: str = "") -> Flow[User]:
        """Make an account and go on as it."""
        return _signed_in(self._api, "register", {"email": email, "password": password, "name": name})

    @operation
    def login(self, email: str, password: str) -> Flow[User]:
        """Go on as this account. Its tokens are renewed in time by themselves. Raises InvalidCredentials."""
        return _signed_in(self._api, "login", {"email": email, "password": password})

    @operation
    def logout(self) -> Flow[None]:
        """End the session: its tokens stop working at once."""
        return _signed_out(self._api)

    @operation
    def me(self) -> Flow[User]:
        """The account that is logged in. Keys are no accounts: Forbidden."""
        return self._api.one(User, "GET", "/api/auth/me")


class Client(_Client[SyncDriver]):
    """A platform at `base_url`, as the holder of an API key or as a person.

    Give `api_key`, or `tokens` of an earlier session, or call `login`. `on_tokens` is called with each new pair, None
    at the end of the session: store them there. It may be called from any thread that uses the client.

    `timeout` is for how many seconds nothing may be heard. What fails for the moment (no connection, 429, 502, 503,
    504) is asked again up to `retries` times, after what Retry-After says if that is at most `max_wait` seconds. That
    is safe: what changes something carries an Idempotency-Key.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        tokens: Tokens | None = None,
        on_tokens: OnTokens | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        max_wait: float = MAX_WAIT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        api = Api(
            base_url,
            api_key=api_key,
            tokens=tokens,
            on_tokens=on_tokens,
            timeout=timeout,
            retries=retries,
            max_wait=max_wait,
        )
        super().__init__(api, SyncDriver(transport))

    def close(self) -> None:
        """Close its connections."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Client[AsyncDriver]):
    """As `Client`, for asyncio: every operation is awaited, and lists are gone through with `async for`."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        tokens: Tokens | None = None,
        on_tokens: OnTokens | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        max_wait: float = MAX_WAIT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        api = Api(
            base_url,
            api_key=api_key,
            tokens=tokens,
            on_tokens=on_tokens,
            timeout=timeout,
            retries=retries,
            max_wait=max_wait,
        )
        super().__init__(api, AsyncDriver(transport))

    async def close(self) -> None:
        """Close its connections."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _signed_in(api: Api, how: str, body: dict[str, str]) -> Flow[User]:
    if api.api_key is not None:
        raise ValueError("this client has a key: people use one without")
    answered: Any = yield from api.json("POST", f"/api/auth/{how}", json=body, anonymous=True)
    api.keep_answered(answered)
    return parse(User, answered.get("user"))


def _signed_out(api: Api) -> Flow[None]:
    yield from api.json("POST", "/api/auth/logout")
    api.keep(None)
