"""The provider that follows a script, here too."""

from tests.generation.conftest import scripted, studio

__all__ = ["scripted", "studio"]
