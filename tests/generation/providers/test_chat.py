"""Servers that make videos in a chat: what they are sent, and what is made of all they may say."""

import asyncio
import base64
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.generation.models import Kind
from backend.generation.providers import chat
from backend.generation.providers.base import Asset, Event, Failed, Progress, Remote, Spec, Submitting
from tests.generation.providers.chat_server import DIALECTS, ChatServer
from tests.generation.providers.videos_server import KEY
from tests.generation.providers.wire import said, whole

SPEC = Spec(id=uuid.uuid4(), kind=Kind.VIDEO, prompt="A fox runs.", width=720, height=1280, seconds=7.0, seed=3)


async def run(spec: Spec = SPEC) -> list[Event]:
    provider = chat.from_settings()
    assert provider is not None
    async with asyncio.timeout(60):
        return [event async for event in provider.run(spec, folder=Path())]


async def failure() -> Failed:
    failed = (await run())[-1]
    assert isinstance(failed, Failed), failed
    return failed


async def test_what_has_no_field_of_its_own_is_said_in_words(chat_server: ChatServer) -> None:
    events = await run()
    assert chat_server.asked[0].json == {
        "model": "sora-portrait-7s",
        "stream": True,
        "messages": [{"role": "user", "content": "A fox runs.\n\n(portrait, 720x1280, 7 seconds)"}],
    }
    asset = events[-1]
    assert isinstance(asset, Asset)
    assert asset.model_used == "sora-2"
    assert asset.seed is None
    assert asset.detail["notes"] == ["The provider does not tell which seed it used."]


async def test_pictures_go_along(chat_server: ChatServer, picture: bytes, tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    frame.write_bytes(picture)
    await run(replace(SPEC, images=(frame,)))
    text, image = chat_server.asked[0].json["messages"][0]["content"]
    assert text["text"].startswith("A fox runs.")
    assert base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,")) == picture


@pytest.mark.parametrize("slice_bytes", [1, 3, 64, 100_000])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_in_pieces_of_every_size(dialect: str, slice_bytes: int, chat_server: ChatServer) -> None:
    chat_server.dialect, chat_server.slice_bytes = dialect, slice_bytes
    asset = (await run())[-1]
    assert isinstance(asset, Asset)
    assert isinstance(asset.content, Remote)
    assert asset.content.url.startswith(chat_server.link)


async def test_progress_is_read_out_of_its_words(chat_server: ChatServer) -> None:
    percents = [event.percent for event in await run() if isinstance(event, Progress)]
    assert list(dict.fromkeys(percents)) == [1, 12.5, 99]
    chat_server.dialect = "thinking_then_tag"
    percents = [event.percent for event in await run() if isinstance(event, Progress)]
    assert list(dict.fromkeys(percents)) == [1, 5, 50, 90]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_breaks_off_is_nobody_knows_what_unless_the_link_was_whole(
    dialect: str, reset: bool, chat_server: ChatServer
) -> None:
    chat_server.dialect, chat_server.reset = dialect, reset
    chat_server.slice_bytes = 1
    length = len(b"".join(DIALECTS[dialect](chat_server.link)))
    ends = set()
    for cut_after in range(10, length, 61):
        chat_server.cut_after = cut_after
        end = (await run())[-1]
        ends.add(type(end))
        if isinstance(end, Failed):
            assert end.unknown
        else:
            assert isinstance(end, Asset)
            assert isinstance(end.content, Remote)
            assert end.content.url.startswith(chat_server.link), "half a link is none"
    assert Failed in ends


@pytest.mark.parametrize(
    ("text", "finish", "words"),
    [
        ("Sorry, I cannot make that.", "stop", "without a video: Sorry, I cannot make that."),
        ("Generation failed: quota of the account is used up", "stop", "quota of the account"),
        ("", "stop", "The provider answered without a video."),
        ("This violates our rules", "content_filter", "refused this description: This violates our rules."),
    ],
)
async def test_a_refusal_in_words_is_passed_on(text: str, finish: str, words: str, chat_server: ChatServer) -> None:
    chat_server.text, chat_server.finish = text, finish
    failed = await failure()
    assert words in failed.message
    assert not failed.unknown
    assert not failed.retryable


async def test_an_answer_cut_for_its_length_is_not_taken_for_the_end(chat_server: ChatServer) -> None:
    chat_server.text, chat_server.finish = "see https://cdn.example.org/video.mp", "length"
    assert (await failure()).unknown


ANSWERS: list[tuple[bytes, dict[str, Any]]] = [
    (said(200, {"choices": [{"message": {"content": "no"}, "finish_reason": "stop"}]}), {}),
    (whole(200, b'data: {"error": {"message": "no"}}\n\n', Content_Type="text/event-stream"), {}),
    (said(400, {"error": {"message": "no"}}), {}),
    (said(429, {"error": {"message": "no"}}), {"retryable": True, "waits": True}),
    (said(500, {"error": {"message": "no"}}), {"retryable": True}),
]


@pytest.mark.parametrize(("answer", "unusual"), ANSWERS)
async def test_an_error_in_any_form_is_told(answer: bytes, unusual: dict[str, Any], chat_server: ChatServer) -> None:
    chat_server.instead = answer
    failed = await failure()
    assert failed.message.endswith("no.")
    assert failed == Failed("provider_error", failed.message, **unusual)
    assert chat_server.posts == 1


async def test_a_server_without_streams_answers_at_once(chat_server: ChatServer) -> None:
    content = f"<video src='{chat_server.link}'></video>"
    chat_server.instead = said(200, {"model": "m", "choices": [{"message": {"content": content}}]})
    asset = (await run())[-1]
    assert isinstance(asset, Asset)
    assert isinstance(asset.content, Remote)
    assert asset.content.url == chat_server.link


async def test_a_link_elsewhere_is_followed_without_our_key(chat_server: ChatServer) -> None:
    chat_server.text = "[video](https://cdn.example.org/a.mp4)"
    asset = (await run())[-1]
    assert isinstance(asset, Asset)
    assert asset.content == Remote("https://cdn.example.org/a.mp4")
    assert chat_server.asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_server_that_never_ends_is_left(chat_server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "MAX_SAID_BYTES", 2000)
    chat_server.text, chat_server.slice_bytes = "blah " * 100_000, 5000
    assert "talks on and on" in (await failure()).message


async def test_a_server_that_falls_silent_is_left(chat_server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.generation.providers import endpoint

    monkeypatch.setattr(endpoint, "SILENCE_SECONDS", 0.3)
    chat_server.stall_after = 150
    events = await run()
    assert isinstance(events[0], Submitting)
    assert isinstance(events[-1], Failed)
    assert events[-1].unknown
