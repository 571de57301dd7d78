"""Addresses of results that last as long as the result: for callers who keep them, and for a CMS that shows them.

Whoever has such a link reads this one file, without a key. It ends when the result is deleted, or SECRET_KEY changed.
"""

import hmac
import uuid

from backend.config import settings
from backend.core.security import keyed_digest
from backend.generation.models import Kind

ENDINGS = {Kind.VIDEO: "mp4", Kind.IMAGE: "jpg", Kind.AUDIO: "mp3"}


def media_url(generation_id: uuid.UUID, kind: Kind) -> str:
    """The address of what came of a generation."""
    return f"{settings.public_url.rstrip('/')}/api/v1/media/{generation_id}/{_proof(generation_id)}/{file_name(kind)}"


def file_name(kind: Kind) -> str:
    return f"output.{ENDINGS[kind]}"


def is_proof(generation_id: uuid.UUID, proof: str) -> bool:
    """Whether it is the one that the link of this generation holds."""
    return hmac.compare_digest(_proof(generation_id).encode(), proof.encode(errors="replace"))


def _proof(generation_id: uuid.UUID) -> str:
    return keyed_digest("media link", generation_id.bytes).hex()[:40]
