"""Pictures on their way to a provider."""

import asyncio
import base64
from pathlib import Path

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def type_of(path: Path) -> str:
    return _TYPES.get(path.suffix.lower(), "image/png")


async def data_address(path: Path) -> str:
    """The picture itself, written as an address."""
    data = await asyncio.to_thread(path.read_bytes)
    return f"data:{type_of(path)};base64,{base64.b64encode(data).decode()}"
