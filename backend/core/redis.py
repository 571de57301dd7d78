"""One Redis client a process. Redis carries bells, progress and counters: it may vanish without harm."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from backend.config import settings


class RedisConnection:
    """Opened and closed by the process's lifespan. Every command gives up after two seconds."""

    def __init__(self) -> None:
        self._client: Redis | None = None

    def open(self) -> None:
        self._client = Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=2.0,
            socket_connect_timeout=2.0,
            decode_responses=True,
            retry=Retry(NoBackoff(), 1),
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def client(self) -> Redis:
        if self._client is None:
            raise RuntimeError("redis is not open")
        return self._client


redis = RedisConnection()
