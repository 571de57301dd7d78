"""What pages say of a generation, in words."""

from datetime import UTC, datetime

from backend.core import web
from backend.core.words import duration, filesize, span
from backend.generation.models import Kind
from backend.generation.schemas import GenerationOut
from backend.jobs.models import JobState
from backend.jobs.schemas import JobOut
from backend.jobs.words import doing

KINDS = {Kind.VIDEO: "Video", Kind.IMAGE: "Image", Kind.AUDIO: "Sound"}
SHAPES = {"portrait": "Portrait", "landscape": "Landscape", "square": "Square"}
PROVIDERS = {"animatic": "Animatic", "videos": "Video server", "chat": "Chat model", "diffusers": "This server’s GPU"}

#: Below this percentage the time so far tells little of the time that is left.
_TELLING_PERCENT = 8.0
_STAGES = {
    "preparing": "Getting ready",
    "fetching": "Fetching the result",
    "checking": "Looking at the result",
    "storing": "Storing it",
}
_WHY = {
    "needs_review": "Nobody knows what became of it",
    "cancelled": "Cancelled",
    "gpu_oom": "It did not fit into the GPU’s memory",
    "provider_timeout": "It took too long",
    "provider_unavailable": "The provider does not answer",
}


def provider_word(made: GenerationOut) -> str:
    """Who makes it: `Animatic`."""
    return PROVIDERS.get(made.provider, made.provider)


def in_short(made: GenerationOut) -> str:
    """One line: `Video · Portrait · 8 s · Animatic`."""
    length = made.duration if made.duration is not None else made.seconds if made.kind == Kind.VIDEO else None
    parts = [
        KINDS[made.kind],
        SHAPES.get(made.orientation or "", "") if made.kind != Kind.AUDIO else "",
        _seconds(length),
        provider_word(made),
    ]
    return " · ".join(part for part in parts if part)


def why_title(made: GenerationOut) -> str:
    """Why there is no result, as a heading."""
    code = "needs_review" if made.needs_review else made.status if made.status == "cancelled" else ""
    return _WHY.get(code or (made.error.code if made.error else ""), "It could not be made")


def tile_words(made: GenerationOut) -> str:
    """What is said aloud of a tile: its kind, how it stands, its prompt."""
    states = {"completed": "", "failed": ", failed", "cancelled": ", cancelled"}
    return f"{KINDS[made.kind]}{states.get(made.status, ', being made')}: {made.prompt}"


def facts(made: GenerationOut, *, now: datetime | None = None) -> list[tuple[str, str]]:
    """How it was made, as rows of a table."""
    spec = made.spec
    by, model = provider_word(made), made.model_used or ""
    made_by = f"{by} ({model})" if model and model.lower() != by.lower() else by
    size = f"{made.width} × {made.height}" if made.width and made.height else ""
    shape = SHAPES.get(made.orientation or "", "") if made.kind != Kind.AUDIO else ""
    pictures = len(spec.get("images") or [])
    took = (made.completed_at - made.started_at).total_seconds() if made.completed_at and made.started_at else None
    rows = [
        ("Kind", KINDS[made.kind]),
        ("Shape", f"{shape}, {size}" if shape and size else shape or size),
        ("Length", duration(made.duration) if made.duration is not None else _seconds(_asked_length(made))),
        ("Made by", made_by),
        ("Seed", str(made.seed) if made.seed is not None else ""),
        ("Pace", str(spec.get("pace") or "")),
        ("Voice", str(spec.get("voice") or "")),
        ("Mood", str(spec.get("emotion") or "")),
        ("Background", str(spec.get("background_noise") or "")),
        ("Storyboard", f"{pictures} {'picture' if pictures == 1 else 'pictures'}" if pictures else ""),
        ("Size", filesize(made.size_bytes) if made.size_bytes is not None else ""),
        ("Took", span(took) if took is not None else ""),
        ("Asked for", f"{made.created_at.day} {made.created_at:%b %Y, %H:%M} UTC"),
        ("Came in by", "API" if made.door == "tasks" else ""),
    ]
    return [(label, value) for label, value in rows if value]


def making(job: JobOut) -> str:
    """What is being done: the provider's own word where it has one, as `Drawing`."""
    if job.status != JobState.RUNNING or job.cancel_requested_at is not None or job.stage is None:
        return doing(job)
    return _STAGES.get(job.stage) or job.stage[:1].upper() + job.stage[1:]


def time_left(job: JobOut, *, now: datetime | None = None) -> str:
    """How long it still takes, about: `20 s left`; "" when nobody can know."""
    if job.status != JobState.RUNNING or job.started_at is None or job.cancel_requested_at is not None:
        return ""
    so_far = ((now or datetime.now(UTC)) - job.started_at).total_seconds()
    if job.progress >= _TELLING_PERCENT:
        return _left(so_far * (100 - job.progress) / job.progress)
    if job.estimated_seconds is not None and job.estimated_seconds > so_far:
        return _left(job.estimated_seconds - so_far)
    return ""


def _left(seconds: float) -> str:
    if seconds < 1.5:
        return "about a second left"
    if seconds < 55:
        return f"{max(2, round(seconds)) if seconds < 10 else -(-int(seconds) // 5) * 5} s left"
    if seconds < 3300:
        return f"{-(-int(seconds) // 60)} min left"
    return f"{int(seconds) // 3600} h {int(seconds) // 60 % 60} min left"


def _asked_length(made: GenerationOut) -> float | None:
    return made.seconds if made.kind == Kind.VIDEO else None


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{round(value, 1):g} s"


web.templates().filters.update(
    making=making,
    in_short=in_short,
    why_title=why_title,
    tile_words=tile_words,
    time_left=time_left,
    provider_word=provider_word,
)
