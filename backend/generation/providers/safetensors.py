"""How large a model is, from the headers of its files alone."""

import json
import math
from pathlib import Path

_MOST_HEADER_BYTES = 64 * 1024 * 1024


def largest_part(model: Path) -> int:
    """The number of weights of the largest part of a pipeline: of the folders below it, each is one."""
    parts = [folder for folder in model.iterdir() if folder.is_dir()]
    return max((sum(_weights(file) for file in part.glob("*.safetensors")) for part in parts), default=0)


def _weights(file: Path) -> int:
    """How many numbers it holds; 0 where it is something else. A header's length comes first, in 8 bytes."""
    with file.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        if not 0 < length <= _MOST_HEADER_BYTES:
            return 0
        try:
            header = json.loads(source.read(length))
            return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0
