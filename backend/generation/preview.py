"""How a generation looks while it is being made: one small picture in Redis, which may be lost without harm."""

import base64
import uuid
from collections.abc import Sequence
from pathlib import Path

from redis.exceptions import RedisError

from backend.core.redis import redis

KEEP_SECONDS = 3600
MOST_BYTES = 256 * 1024


def _key(generation_id: uuid.UUID) -> str:
    return f"generation:{generation_id}:preview"


async def put(generation_id: uuid.UUID, picture: Path) -> None:
    """Put the newest picture (a JPEG) where those who watch find it; one that is too large is not shown."""
    try:
        data = picture.read_bytes()
        if data.startswith(b"\xff\xd8\xff") and len(data) <= MOST_BYTES:
            await redis.client.set(_key(generation_id), base64.b64encode(data).decode(), ex=KEEP_SECONDS)
    except (RedisError, OSError):
        return


async def get(generation_id: uuid.UUID) -> bytes | None:
    """The newest picture, a JPEG; None while there is none."""
    try:
        text = await redis.client.get(_key(generation_id))
    except (RedisError, OSError):
        return None
    return base64.b64decode(text) if text else None


async def sizes(generation_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How long each one's newest picture is, of those that have one: another number is another picture."""
    try:
        async with redis.client.pipeline(transaction=False) as pipe:
            for generation_id in generation_ids:
                pipe.strlen(_key(generation_id))
            lengths = await pipe.execute()
    except (RedisError, OSError):
        return {}
    return {key: length for key, length in zip(generation_ids, lengths, strict=True) if length}


async def forget(generation_id: uuid.UUID) -> None:
    """It is over: the result is there, or there is none."""
    try:
        await redis.client.delete(_key(generation_id))
    except (RedisError, OSError):
        return
