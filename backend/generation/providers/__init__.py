"""The providers that the settings switch on, by name."""

from backend.config import settings
from backend.generation.models import Kind
from backend.generation.providers import animatic, chat, diffusers, videos
from backend.generation.providers.base import Provider

__all__ = ["configured", "default_for", "find"]

#: What looks into the settings and answers a provider, or None where it is switched off; the first is always there.
_MAKERS = (animatic.from_settings, videos.from_settings, chat.from_settings, diffusers.from_settings)


def configured() -> dict[str, Provider]:
    """Those that are switched on, in the order in which they are offered."""
    made = (make() for make in _MAKERS)
    return {provider.name: provider for provider in made if provider is not None}


def find(name: str, kind: Kind | None = None) -> Provider | None:
    """The provider of this name, if it is switched on and makes such things."""
    provider = configured().get(name)
    return provider if provider is not None and (kind is None or kind in provider.kinds) else None


def default_for(kind: Kind) -> Provider:
    """The one that is taken when nobody names one; where it is not switched on, the one that is always there."""
    chosen = {
        Kind.VIDEO: settings.provider_video,
        Kind.IMAGE: settings.provider_image,
        Kind.AUDIO: settings.provider_audio,
    }
    return find(chosen[kind], kind) or configured()[animatic.NAME]
