"""`/generate`: say what is to be made, and watch it being made."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from backend.core.db import SessionDep, transaction
from backend.core.errors import AppError, ValidationFailed
from backend.core.forms import read_lists
from backend.core.web import is_htmx, redirect, render
from backend.generation import pictures, providers, quota, service
from backend.generation.models import Kind
from backend.generation.pages_wall import newest_of, show
from backend.generation.pages_words import KINDS, PROVIDERS
from backend.generation.schemas import GenerationIn
from backend.generation.spec import DEFAULT_SECONDS, MAX_IMAGES, MAX_PROMPT_LENGTH, ImageRef, wish_of
from backend.orgs.access import Actor, PageActor, Permission
from backend.orgs.chosen import chosen_project

router = APIRouter(include_in_schema=False)

#: So many of one's own last ones stand beside the composer.
MAKINGS = 6
LENGTHS = (4, 7, 15, 30)
#: What can be heard behind a voice, as the providers know it.
BACKGROUNDS = ("none", "rain", "wind", "sea", "street", "room", "crowd")
_PROBLEMS = {"prompt": "Prompt", "seconds": "Length", "seed": "Seed", "images": "Storyboard", "provider": "Made by"}


@dataclass(frozen=True)
class Frame:
    """One picture of a storyboard: `ref` is what the form sends for it, `url` shows it where it can be shown."""

    ref: str
    url: str | None


@dataclass(frozen=True)
class Asked:
    """What the composer holds."""

    prompt: str = ""
    kind: str = "video"
    orientation: str = "portrait"
    seconds: str = f"{DEFAULT_SECONDS:g}"
    pace: str = "normal"
    background_noise: str = "none"
    provider: str = ""
    seed: str = ""
    storyboard: Sequence[Frame] = field(default_factory=list)


@router.get("/generate")
async def composer(
    request: Request, actor: PageActor, session: SessionDep, again: uuid.UUID | None = None, prompt: str = ""
) -> Response:
    """The composer; `again` fills it with what something was made from."""
    asked = Asked(prompt=prompt[:MAX_PROMPT_LENGTH]) if again is None else await _asked_of(session, actor, again)
    return await _page(request, session, actor, asked)


@router.get("/generate/quota")
async def quota_now(request: Request, actor: PageActor, session: SessionDep) -> Response:
    """How many one may still make, and the button that depends on it."""
    left = await quota.left(session, user_id=actor.user_id)
    return render(request, "generation/_left.html", quota=left, within=True)


@router.post("/generate")
async def generate(request: Request, actor: PageActor) -> Response:
    """Start it. Without scripts on to the page of what is being made; else that, to be put beside the composer."""
    form = await read_lists(request)
    try:
        body = _body(form)
        await service.check_images(body.images or [])
        async with transaction() as session:
            generation, _ = await service.start(session, actor=actor, body=body)
    except AppError as error:
        if error.status not in (409, 422, 503):
            raise
        return await _came_back(request, actor, form, _in_words(error))
    if not is_htmx(request):
        return redirect(request, "/generate")
    async with transaction() as session:
        made = await show(session, generation)
        left = await quota.left(session, user_id=actor.user_id)
    return render(request, "generation/_started.html", made=made, quota=left)


async def _came_back(request: Request, actor: Actor, form: Mapping[str, list[str]], problem: str) -> Response:
    """The composer with what was typed, and why nothing was started."""
    async with transaction() as session:
        if not is_htmx(request):
            asked = await _asked_in(session, actor, form)
            return await _page(request, session, actor, asked, problem=problem, status=422)
        left = await quota.left(session, user_id=actor.user_id)
    answer = render(request, "generation/_refused.html", status=422, problem=problem, quota=left)
    answer.headers.update({"HX-Retarget": "#composer-problem", "HX-Reswap": "innerHTML"})
    return answer


async def _page(
    request: Request, session: AsyncSession, actor: Actor, asked: Asked, *, problem: str = "", status: int = 200
) -> Response:
    chosen = chosen_project(request, actor)
    into = chosen if chosen is not None and actor.may(Permission.EDIT, chosen) else None
    lengths = sorted({*map(str, LENGTHS), asked.seconds}, key=float)
    return render(
        request,
        "generation/generate.html",
        status=status,
        page="generate",
        form=asked,
        problem=problem,
        into=into,
        into_name=actor.names[into or actor.personal_project_id].name if len(actor.project_ids) > 1 else "",
        may_make=bool(actor.projects(Permission.EDIT)),
        lengths=lengths,
        backgrounds=BACKGROUNDS,
        providers={kind: _choices(kind) for kind in Kind},
        limits={"prompt": MAX_PROMPT_LENGTH, "storyboard": MAX_IMAGES, "picture_bytes": pictures.MAX_BYTES},
        quota=await quota.left(session, user_id=actor.user_id),
        makings=await newest_of(session, actor=actor, most=MAKINGS),
    )


@dataclass(frozen=True)
class Choice:
    """A provider in the form."""

    name: str
    label: str


def _choices(kind: Kind) -> list[Choice]:
    """Who makes things of a kind here, the usual one first."""
    usual = providers.default_for(kind)
    names = [each.name for each in providers.configured().values() if kind in each.kinds]
    names.sort(key=lambda name: usual is None or name != usual.name)
    return [Choice(name, PROVIDERS.get(name, name)) for name in names]


def _body(form: Mapping[str, list[str]]) -> GenerationIn:
    """The form as the API takes it: of what does not belong to the kind, nothing. Raises ValidationFailed."""
    said = {name: values[-1].strip() for name, values in form.items() if values[-1].strip()}
    kind = said.get("kind", "video")
    wanted: dict[str, Any] = {"prompt": said.get("prompt", ""), "kind": kind, "project_id": said.get("project_id")}
    wanted["provider"] = said.get(f"provider_{kind}")
    if kind != "audio":
        wanted["orientation"] = said.get("orientation")
    if kind == "video":
        wanted["seconds"] = said.get("seconds")
        wanted["images"] = [_ref(text) for text in form.get("image", []) if text] or None
    if kind == "audio":
        wanted |= {name: said.get(name) for name in ("pace", "background_noise")}
    if seed := said.get("seed"):
        if not (seed.isascii() and seed.isdecimal()):
            raise ValidationFailed(fields={"seed": "a whole number, please"})
        wanted["seed"] = int(seed)
    try:
        return GenerationIn.model_validate({name: value for name, value in wanted.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]) if problem["loc"] else ""
        raise ValidationFailed(fields={name: _complaint(name, problem)}) from error


def _ref(text: str) -> dict[str, str]:
    return {"url": text} if text.startswith(("http://", "https://")) else {"image_id": text}


def _complaint(name: str, problem: Any) -> str:
    if name == "prompt" and problem["type"] in ("string_too_short", "missing", "value_error"):
        return "say what you want to see or hear"
    if problem["type"] in ("string_too_long", "too_long"):
        return f"at most {problem['ctx']['max_length']:,} {'pictures' if name == 'images' else 'characters'}"
    return str(problem["msg"]).removeprefix("Value error, ")


def _in_words(error: AppError) -> str:
    if isinstance(error, ValidationFailed) and error.fields:
        return "; ".join(f"{_PROBLEMS.get(name, name)}: {words}" for name, words in error.fields.items()) + "."
    return error.message


# --- what was asked before -------------------------------------------------------------------------------------------


async def _asked_of(session: AsyncSession, actor: Actor, generation_id: uuid.UUID) -> Asked:
    """Raises NotFound."""
    before = await service.get_generation(session, actor=actor, generation_id=generation_id)
    wish = wish_of(before)
    return Asked(
        prompt=before.prompt,
        kind=before.kind,
        orientation=wish.orientation,
        seconds=f"{wish.seconds:g}",
        pace=wish.pace or "normal",
        background_noise=wish.background_noise or "none",
        provider=before.provider,
        seed="" if wish.seed is None else str(wish.seed),
        storyboard=await _frames(session, actor, wish.images),
    )


async def _asked_in(session: AsyncSession, actor: Actor, form: Mapping[str, list[str]]) -> Asked:
    """What a form held that came back."""
    said = {name: values[-1] for name, values in form.items()}
    kind = said["kind"] if said.get("kind") in set(KINDS) else "video"
    named = ("orientation", "pace", "background_noise", "seed", "prompt")
    refs = [ImageRef.model_validate(_ref(text)) for text in form.get("image", []) if _is_ref(text)]
    return Asked(
        **{name: said[name] for name in named if name in said},
        kind=kind,
        seconds=said["seconds"] if said.get("seconds", "").isdecimal() else Asked.seconds,
        provider=said.get(f"provider_{kind}", ""),
        storyboard=await _frames(session, actor, refs),
    )


def _is_ref(text: str) -> bool:
    try:
        ImageRef.model_validate(_ref(text))
    except ValidationError:
        return False
    return True


async def _frames(session: AsyncSession, actor: Actor, refs: Sequence[ImageRef]) -> list[Frame]:
    """Those of a storyboard's pictures that are still there; those of other servers are not shown here."""
    addresses = await pictures.addresses(session, actor=actor, ids=[ref.image_id for ref in refs if ref.image_id])
    frames = [
        Frame(ref.url, None) if ref.url else Frame(str(ref.image_id), addresses.get(ref.image_id or uuid.UUID(int=0)))
        for ref in refs
    ]
    return [frame for frame in frames if frame.url or frame.ref.startswith("http")]
