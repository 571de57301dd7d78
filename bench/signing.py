"""Signing beside boto3, which signs the same: addresses of a GET (a poster of a list), of a PUT and of a part."""

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from backend.config import settings
from backend.core.storage import Storage
from bench.place import Place
from bench.table import Row

AIM = 15.0
TYPE = "video/mp4"


async def measure(place: Place) -> list[Row]:
    settings.__init__(_env_file=None)  # type: ignore[misc]  # in place: it was read before the stack was there
    storage = Storage()
    storage.open()
    key = f"videos/{secrets.token_hex(16)}/{secrets.token_hex(16)}.mp4"
    upload = secrets.token_urlsafe(40)
    get, put = partial(storage.presign_get, key), partial(storage.presign_put, key)
    part = partial(storage.presign_part, key, upload, 7)
    bound: dict[str, Any] = {"ContentType": TYPE, "ContentLength": 1_000_000}
    named: dict[str, Any] = {"UploadId": upload, "PartNumber": 7, "ContentLength": 1_000_000}
    pairs: dict[str, tuple[Callable[[], Awaitable[str]], Callable[[], str]]] = {
        "a GET": (
            partial(get, expires_seconds=3600, content_type=TYPE),
            partial(storage.sign_call, "get_object", expires_seconds=3600, Key=key, ResponseContentType=TYPE),
        ),
        "a PUT": (
            partial(put, expires_seconds=3600, content_type=TYPE, size_bytes=1_000_000),
            partial(storage.sign_call, "put_object", expires_seconds=3600, Key=key, **bound),
        ),
        "a part": (
            partial(part, expires_seconds=3600, size_bytes=1_000_000),
            partial(storage.sign_call, "upload_part", expires_seconds=3600, Key=key, **named),
        ),
    }
    rows = []
    for what, (ours, theirs) in pairs.items():
        found = [await _round(ours, theirs, place.size(2000, 10)) for _ in range(place.rounds)]
        beside = "; ".join(f"{us:.0f} and {them:.0f} a CPU-second" for us, them in found[-1:])
        rows.append(
            Row(f"signing {what}, beside boto3", tuple(us / them for us, them in found), at_least=AIM, beside=beside)
        )
    storage.close()
    return rows


async def _round(ours: Callable[[], Awaitable[str]], theirs: Callable[[], str], count: int) -> tuple[float, float]:
    """How many a CPU-second, of ours and of boto3's; of ours ten times as many are signed."""
    for warm in range(10):
        del warm
        await ours()
        theirs()
    began = time.process_time()
    for _ in range(10 * count):
        await ours()
    between = time.process_time()
    for _ in range(count):
        theirs()
    return 10 * count / (between - began), count / (time.process_time() - between)
