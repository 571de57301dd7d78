"""What other back ends may ask for: each type of task, what its data holds, and what it is in our own words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from backend.core.errors import ValidationFailed
from backend.core.web import Line, Paragraph, StrictModel, printable, said_of
from backend.generation.models import Kind
from backend.generation.providers.base import Orientation
from backend.generation.spec import FPS, MAX_IMAGES, MAX_SECONDS, MAX_TEXT_LENGTH, ImageRef, Wish, size_of

#: Characters of one description, and of all that a caller adds in words of its own.
MAX_WORDS = 4000
MAX_METADATA_CHARACTERS = 16_000
_MAX_DEPTH = 8
_MAX_ENTRIES = 2000
SEGMENT_SECONDS = 7.0
TRIAL_PIXELS = 256


class TaskType(StrEnum):
    """The types by the first of their names."""

    VIDEO = "generate_video"
    IMAGE = "generate_image"
    AUDIO = "process_audio"
    ANIMATION = "render_animation"
    TRIAL = "test_prompt"


#: Every name that a type may be asked for by.
NAMES: Mapping[str, TaskType] = {
    **{each.value: each for each in TaskType},
    "video_generation": TaskType.VIDEO,
    "image_generation": TaskType.IMAGE,
    "audio_synthesis": TaskType.AUDIO,
}


def names_of(name: str) -> list[str]:
    """All names of the type that this is a name of. Raises KeyError."""
    return [each for each, type in NAMES.items() if type is NAMES[name]]


# --- values ----------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """JSON that can be kept: no control characters or lone surrogates, neither deep nor without end."""
    left = _MAX_ENTRIES

    def look(part: Any, depth: int) -> None:
        nonlocal left
        left -= 1
        if depth > _MAX_DEPTH or left < 0:
            raise ValueError("must not be nested this deeply, or hold this much")
        if isinstance(part, str):
            printable(part, allowed="\n\r\t")
        elif isinstance(part, dict):
            for name, each in part.items():
                printable(str(name))
                look(each, depth + 1)
        elif isinstance(part, list):
            for each in part:
                look(each, depth + 1)
        elif isinstance(part, float) and not math.isfinite(part):
            raise ValueError("must not hold numbers that are not finite")
        elif isinstance(part, int) and not isinstance(part, bool) and abs(part) >= 2**63:
            raise ValueError("must not hold numbers this large")

    look(value, 0)
    return value


def in_words(value: Any) -> str:
    """A description, whether it came as a text, a list or names with values, as one line for a prompt."""
    if isinstance(value, dict):
        named = ((name, in_words(each)) for name, each in value.items())
        return ", ".join(f"{name.replace('_', ' ')}: {words}" for name, words in named if words)
    if isinstance(value, list):
        return "; ".join(words for words in map(in_words, value) if words)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value).strip()


def _described(value: Any) -> Any:
    if not isinstance(value, str | list | dict):
        raise ValueError("must be a text, a list, or names with values")
    if len(in_words(plain(value))) > MAX_WORDS:
        raise ValueError(f"must not have more than {MAX_WORDS} characters")
    return value


Text = Annotated[Paragraph, Field(max_length=MAX_WORDS)]
#: Said in a text, a list, or names with values: callers write these as they keep them.
Described = Annotated[Any, AfterValidator(_described)]


def _something(value: Any) -> Any:
    if not in_words(value):
        raise ValueError("must say something")
    return value


Said = Annotated[Described, AfterValidator(_something)]
Url = Annotated[Line, Field(max_length=2000, examples=["https://example.com/board/1.png"])]
Images = Annotated[list[Url], Field(max_length=MAX_IMAGES)]


# --- data of each type -----------------------------------------------------------------------------------------------


class VideoData(StrictModel):
    """A segment of 7 s at 24 pictures a second, from a storyboard, a description, or both."""

    storyboard_images: Images = Field(default_factory=list)
    scene_description: Described = ""
    camera_angle: Described = ""
    lighting: Described = ""
    character_positions: Described = ""
    audio_cues: Described = ""
    orientation: Orientation = "landscape"

    @model_validator(mode="after")
    def _of_something(self) -> "VideoData":
        if not self.storyboard_images and not in_words(self.scene_description):
            raise ValueError("scene_description or storyboard_images is needed")
        return self


class ImageData(StrictModel):
    """A picture of 1024 by 1024."""

    character_description: Said
    style_guide: Described = ""
    reference_images: Images = Field(default_factory=list)
    pose: Described = ""
    lighting: Described = ""


class AudioData(StrictModel):
    """Speech. `pace` is a word, or a number by which it is faster than usual."""

    text: Annotated[Paragraph, Field(min_length=1, max_length=MAX_TEXT_LENGTH)]
    character_voice_profile: Described = ""
    emotion: Described = ""
    pace: Annotated[float, Field(strict=True, ge=0.25, le=4)] | Annotated[Line, Field(max_length=100)] = ""
    background_noise: Described = ""


class AnimationData(VideoData):
    """A film of any length, from pictures that are shown one after the other, or from a description."""

    duration: float = Field(SEGMENT_SECONDS, strict=True, ge=1, le=MAX_SECONDS, description="Seconds")
    fps: int = Field(FPS, strict=True, ge=12, le=60)


class TrialData(StrictModel):
    """A dry run: what would be asked of which provider, how long it would take, and a sketch that costs nothing."""

    prompt: Annotated[Text, Field(min_length=1)]
    task_type: Literal["generate_video", "generate_image", "process_audio", "render_animation"] = "generate_video"


Data = VideoData | ImageData | AudioData | AnimationData | TrialData
MODELS: Mapping[TaskType, type[Data]] = {
    TaskType.VIDEO: VideoData,
    TaskType.IMAGE: ImageData,
    TaskType.AUDIO: AudioData,
    TaskType.ANIMATION: AnimationData,
    TaskType.TRIAL: TrialData,
}


def read(name: str, data: Mapping[str, Any]) -> Data:
    """The data of a task of this type. Raises ValidationFailed, which names each field as it was sent."""
    try:
        return MODELS[NAMES[name]].model_validate(data)
    except ValidationError as error:
        fields: dict[str, str] = {}
        for problem in error.errors()[:50]:
            place = ".".join(["task_data", *(str(part)[:100] for part in problem["loc"])])
            fields.setdefault(place, said_of(problem))
        raise ValidationFailed(fields=fields) from error


# --- in our own words ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What is asked of a provider. A trial is never sent to one that costs something."""

    kind: Kind
    prompt: str
    wish: Wish
    images: list[str]  #: their addresses, as in the wish


def order_of(name: str, data: Data) -> Order:
    """What a task comes down to."""
    type = NAMES[name]
    if isinstance(data, VideoData):
        shape: dict[str, Any] = {"orientation": data.orientation, "seconds": SEGMENT_SECONDS, "fps": FPS}
        if isinstance(data, AnimationData):
            shape |= {"seconds": data.duration, "fps": data.fps}
        parts = {
            "Camera": data.camera_angle,
            "Lighting": data.lighting,
            "Characters": data.character_positions,
            "Sound": data.audio_cues,
        }
        return _order(Kind.VIDEO, in_words(data.scene_description), parts, data.storyboard_images, **shape)
    if isinstance(data, ImageData):
        parts = {"Style": data.style_guide, "Pose": data.pose, "Lighting": data.lighting}
        return _order(
            Kind.IMAGE, in_words(data.character_description), parts, data.reference_images, orientation="square"
        )
    if isinstance(data, AudioData):
        said = {
            "voice": in_words(data.character_voice_profile),
            "emotion": in_words(data.emotion),
            "pace": in_words(data.pace),
            "background_noise": in_words(data.background_noise),
        }
        return _order(Kind.AUDIO, data.text, {}, [], **{key: words for key, words in said.items() if words})
    assert type is TaskType.TRIAL
    trial = _order(Kind.IMAGE, data.prompt, {}, [], orientation="square")
    small = trial.wish.model_copy(update={"width": TRIAL_PIXELS, "height": TRIAL_PIXELS})
    return Order(trial.kind, trial.prompt, small, [])


def _order(kind: Kind, text: str, parts: Mapping[str, Any], images: list[str], **shape: Any) -> Order:
    said = [text, *(f"{name}: {in_words(value)}" for name, value in parts.items() if in_words(value))]
    width, height = size_of(kind, shape.get("orientation", "square"))
    wish = Wish(width=width, height=height, images=[ImageRef(url=url) for url in images], **shape)
    return Order(kind, "\n".join(part for part in said if part), wish, images)
