"""What every provider promises, whoever it asks: the order of events, a real asset, no trace when it is left."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backend.config import settings
from backend.generation import looks, providers
from backend.generation.models import Kind
from backend.generation.providers import diffusers
from backend.generation.providers.base import (
    Asset,
    Event,
    Failed,
    Progress,
    Provider,
    Queued,
    Remote,
    Spec,
    Submitting,
)
from backend.generation.providers.endpoint import origin_of
from tests.generation.providers.chat_server import DIALECTS, ChatServer
from tests.generation.providers.conftest import Models
from tests.generation.providers.videos_server import KEY, VideosServer
from tests.generation.providers.wire import Server, until

#: Provider, dialect, kind.
CASES = [
    ("animatic", "", Kind.VIDEO),
    ("animatic", "", Kind.IMAGE),
    ("animatic", "", Kind.AUDIO),
    *(("videos", dialect, Kind.VIDEO) for dialect in ("form", "json", "openrouter")),
    ("videos", "form", Kind.IMAGE),
    ("videos", "form", Kind.AUDIO),
    *(("chat", dialect, Kind.VIDEO) for dialect in DIALECTS),
    ("diffusers", "", Kind.VIDEO),
    ("diffusers", "", Kind.IMAGE),
]
#: The codes of the contract that a provider may give.
CODES = {"provider_error", "provider_timeout", "provider_unavailable", "gpu_oom"}


@dataclass
class Case:
    """One provider, and what it is to make."""

    provider: Provider
    spec: Spec
    folder: Path
    server: Server | None

    def run(self, resume: str | None = None, **changes: Any) -> AsyncIterator[Event]:
        return self.provider.run(replace(self.spec, **changes), folder=self.folder, resume=resume)

    async def events(self, resume: str | None = None, **changes: Any) -> list[Event]:
        async with asyncio.timeout(120):
            return [event async for event in self.run(resume, **changes)]


Make = Callable[[str, str, Kind], Case]


@pytest.fixture
async def make(
    videos_server: VideosServer,
    chat_server: ChatServer,
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    folder = tmp_path / "attempt"
    folder.mkdir()
    width, height = (240, 426)

    def made(name: str, dialect: str, kind: Kind) -> Case:
        servers: dict[str, Server] = {"videos": videos_server, "chat": chat_server}
        if name == "videos":
            videos_server.dialect = dialect
            monkeypatch.setattr(settings, "videos_api_dialect", dialect)
        if name == "chat":
            chat_server.dialect = dialect
        provider = providers.find(name, kind)
        assert provider is not None
        size = {Kind.VIDEO: (width, height), Kind.IMAGE: (256, 256), Kind.AUDIO: (0, 0)}[kind]
        spec = Spec(
            id=uuid.uuid4(),
            kind=kind,
            prompt="A fox runs through the snow.",
            width=size[0],
            height=size[1],
            seconds=1.0,
            seed=7,
        )
        return Case(provider, spec, folder, servers.get(name))

    return made


each_case = pytest.mark.parametrize(("name", "dialect", "kind"), CASES)


@each_case
async def test_events_come_in_order_and_end_in_an_asset(name: str, dialect: str, kind: Kind, make: Make) -> None:
    case = make(name, dialect, kind)
    events = await case.events()
    shapes = [type(event) for event in events]
    assert shapes[-1] is Asset, events[-1]
    assert shapes.count(Asset) == 1
    assert Failed not in shapes
    assert Progress in shapes
    if case.server is None:
        assert not {Submitting, Queued} & set(shapes), "what is made here may be made again"
    else:
        assert shapes[0] is Submitting
        assert shapes.count(Submitting) == 1
    assert shapes[:2].count(Queued) == (case.provider.resumable and kind == Kind.VIDEO)
    for event in events:
        if isinstance(event, Progress):
            assert 0 <= event.percent <= 100
            assert 0 < len(event.stage) <= 40


@each_case
async def test_nothing_is_sent_before_it_says_that_it_submits(name: str, dialect: str, kind: Kind, make: Make) -> None:
    case = make(name, dialect, kind)
    if case.server is None:
        return
    async with aclosing(case.run()) as events:  # type: ignore[type-var]
        assert isinstance(await anext(events), Submitting)
        await asyncio.sleep(0.1)
        assert case.server.asked == []


@each_case
async def test_the_asset_is_what_was_asked_for(name: str, dialect: str, kind: Kind, make: Make) -> None:
    case = make(name, dialect, kind)
    asset = (await case.events())[-1]
    assert isinstance(asset, Asset)
    assert asset.model_used
    assert isinstance(asset.detail.get("notes", []), list)
    path = await fetched(asset, case)
    inside = case.folder / "taken"
    inside.mkdir()

    async def tell(share: float) -> None:
        pass

    result = await looks.take_in(kind, path, inside, tell=tell)
    assert result.content_type == looks.TYPES[kind]
    if kind == Kind.VIDEO:
        assert (result.width, result.height) == (240, 426)
        assert result.duration == pytest.approx(1.0, abs=0.1)
    elif kind == Kind.IMAGE:
        assert (result.width, result.height) == (256, 256)


async def fetched(asset: Asset, case: Case) -> Path:
    """The asset as a file; what has to be fetched is fetched as the engine does it."""
    if isinstance(asset.content, Path):
        assert case.folder in asset.content.parents
        return asset.content
    from backend.core import http

    assert isinstance(asset.content, Remote)
    assert case.server is not None
    assert asset.content.own_origin == case.server.url == origin_of(asset.content.url)
    path = case.folder / "fetched"
    answer = await http.download(
        asset.content.url,
        path,
        headers=asset.content.headers,
        max_bytes=10_000_000,
        timeout_seconds=60,
        trusted=True,
    )
    assert answer.status == 200
    return path


@each_case
async def test_who_is_left_in_the_middle_leaves_nothing_running(
    name: str, dialect: str, kind: Kind, make: Make, models: Models
) -> None:
    case = make(name, dialect, kind)
    for model in (models.video, models.image):
        (model / "hold").touch()
    if isinstance(case.server, VideosServer):
        case.server.held = kind == Kind.VIDEO
        case.server.silent = kind != Kind.VIDEO
    elif isinstance(case.server, ChatServer):
        case.server.stall_after = 200

    async def follow() -> None:
        async for _ in case.run():
            seen.set()

    seen = asyncio.Event()
    following = asyncio.create_task(follow())
    async with asyncio.timeout(60):
        await seen.wait()
    await asyncio.sleep(0.3)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    if case.server is not None:
        server = case.server
        await until(lambda: server.open == 0, "a connection stayed open")
    assert diffusers._gpu.child is None
    assert not diffusers._gpu.lock.locked()
    if name == "videos":
        assert isinstance(case.server, VideosServer)
        assert case.server.deleted == [], "only a cancel tells the server to stop"


@each_case
async def test_to_cancel_what_is_unknown_is_fine(name: str, dialect: str, kind: Kind, make: Make) -> None:
    case = make(name, dialect, kind)
    async with asyncio.timeout(60):
        await case.provider.cancel("no-such/thing?")


@each_case
async def test_a_failure_has_a_code_and_words_without_keys_or_addresses(
    name: str, dialect: str, kind: Kind, make: Make, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make(name, dialect, kind)
    changes: dict[str, Any] = {}
    if name == "animatic":
        return  # it has nobody who could refuse it: tests/generation/test_animatic*.py
    if name == "diffusers":
        models.tell(models.video, raises=f"no {KEY} at https://example.org/secret")
        models.tell(models.image, raises=f"no {KEY} at https://example.org/secret")
    else:
        for key in (settings.videos_api_key, settings.chat_api_key):
            monkeypatch.setattr(key, "_secret_value", "sk-wrong")
        case = make(name, dialect, kind)
    failed = (await case.events(**changes))[-1]
    assert isinstance(failed, Failed)
    assert failed.code in CODES
    assert not failed.unknown
    assert "sk-wrong" not in failed.message
    assert "://" not in failed.message
    assert failed.message.endswith((".", "…"))


@pytest.mark.parametrize("dialect", ["form", "json", "openrouter"])
async def test_who_takes_over_asks_on_and_sends_nothing(dialect: str, make: Make, videos_server: VideosServer) -> None:
    case = make("videos", dialect, Kind.VIDEO)
    videos_server.held = True
    async with aclosing(case.run()) as first:  # type: ignore[type-var]
        ids = [event.external_id async for event in taking(first, 3) if isinstance(event, Queued)]
    videos_server.held = False
    events = await case.events(resume=ids[0])
    assert isinstance(events[-1], Asset)
    assert not {Submitting, Queued} & {type(event) for event in events}
    assert videos_server.posts == 1


async def taking(events: AsyncIterator[Event], number: int) -> AsyncIterator[Event]:
    for _ in range(number):
        yield await anext(events)
