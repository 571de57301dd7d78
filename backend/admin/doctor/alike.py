"""Whether who asks and who answers were started with the same settings: compared by keyed digests, so none is told."""

import hmac
from collections.abc import Mapping

from pydantic import SecretStr

from backend.config import settings

#: What a process may have its own way, wherever it runs.
_OF_A_PROCESS = {"log_level", "log_format", "worker_grace_seconds"}
#: And what may be a machine's own, where processes run on several.
_OF_A_MACHINE = {"worker_queues", "worker_slots", "worker_queue_slots", "work_dir", "work_dir_max_mb"}
_OF_A_MACHINE |= {"sandbox", "video_encoder", "database_pool_size"}
_OF_A_MACHINE |= {"diffusers_python", "diffusers_steps", "diffusers_fps", "diffusers_free_vram_mb"}


def digests() -> dict[str, str]:
    """Each setting's name with what only equal values, under the same SECRET_KEY, have in common."""
    key = settings.secret_key.get_secret_value().encode()
    own = _OF_A_PROCESS if settings.environment == "local" else _OF_A_PROCESS | _OF_A_MACHINE
    return {
        name.upper(): hmac.digest(key, f"doctor-settings {name}={_plain(value)!r}".encode(), "sha256").hex()[:16]
        for name, value in settings
        if name not in own
    }


def different(theirs: Mapping[str, str]) -> list[str]:
    """The names of the settings in which another process differs from this one; what it does not know is left out."""
    return sorted(name for name, digest in digests().items() if theirs.get(name, digest) != digest)


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
