"""Servers with `/v1/videos`: what they are sent, in each dialect, and what is made of all they may answer."""

import asyncio
import base64
import uuid
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.config import settings
from backend.generation.models import Kind
from backend.generation.providers import videos
from backend.generation.providers.base import Asset, Event, Failed, Progress, Queued, Remote, Spec, Submitting
from tests.generation.providers.videos_server import KEY, VideosServer
from tests.generation.providers.wire import said, whole

SPEC = Spec(id=uuid.uuid4(), kind=Kind.VIDEO, prompt="A fox – runs.", width=720, height=1280, seconds=6.5, seed=42)


@pytest.fixture
def frame(tmp_path: Path, picture: bytes) -> Path:
    path = tmp_path / "frame.png"
    path.write_bytes(picture)
    return path


async def run(spec: Spec = SPEC, resume: str | None = None, folder: Path = Path()) -> list[Event]:
    provider = videos.from_settings()
    assert provider is not None
    async with asyncio.timeout(60):
        return [event async for event in provider.run(spec, folder=folder, resume=resume)]


async def failure(spec: Spec = SPEC, folder: Path = Path()) -> Failed:
    failed = (await run(spec, folder=folder))[-1]
    assert isinstance(failed, Failed), failed
    return failed


def speak(server: VideosServer, dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server.dialect = dialect
    monkeypatch.setattr(settings, "videos_api_dialect", dialect)


# --- what is sent ----------------------------------------------------------------------------------------------------


async def test_a_form_as_vllm_omni_takes_it(videos_server: VideosServer, frame: Path, picture: bytes) -> None:
    await run(replace(SPEC, images=(frame,), options={"negative_prompt": "rain", "camera_angle": "low"}))
    assert videos_server.asked[0].form == {
        "prompt": "A fox – runs.",
        "seconds": "7",
        "size": "720x1280",
        "fps": "24",
        "num_frames": "156",
        "negative_prompt": "rain",
        "seed": "42",
        "model": "wan-2.2",
        "input_reference": picture,
    }


async def test_json_as_sglang_takes_it(videos_server: VideosServer, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(videos_server, "json", monkeypatch)
    await run()
    assert videos_server.asked[0].json == {
        "prompt": "A fox – runs.",
        "seconds": 7,
        "size": "720x1280",
        "fps": 24,
        "num_frames": 156,
        "seed": 42,
        "model": "wan-2.2",
    }


async def test_a_picture_goes_to_sglang_as_a_form(
    videos_server: VideosServer, frame: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(videos_server, "json", monkeypatch)
    events = await run(replace(SPEC, images=(frame,)))
    assert isinstance(events[-1], Asset)
    assert videos_server.asked[0].form["input_reference"] == picture


@pytest.mark.parametrize(
    ("orientation", "size", "ratio", "resolution"),
    [
        ("portrait", (720, 1280), "9:16", "720p"),
        ("landscape", (1920, 1080), "16:9", "1080p"),
        ("square", (512, 512), "1:1", "480p"),
    ],
)
async def test_the_variant_of_openrouter(
    orientation: Any,
    size: tuple[int, int],
    ratio: str,
    resolution: str,
    videos_server: VideosServer,
    frame: Path,
    picture: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speak(videos_server, "openrouter", monkeypatch)
    events = await run(replace(SPEC, orientation=orientation, width=size[0], height=size[1], images=(frame,)))
    body = videos_server.asked[0].json
    (first,) = body.pop("frame_images")
    assert body == {
        "prompt": "A fox – runs.",
        "duration": 7,
        "aspect_ratio": ratio,
        "resolution": resolution,
        "seed": 42,
        "model": "wan-2.2",
    }
    assert first["frame_type"] == "first_frame"
    assert base64.b64decode(first["image_url"]["url"].removeprefix("data:image/png;base64,")) == picture
    asset = events[-1]
    assert isinstance(asset, Asset)
    assert asset.detail["usage"] == {"cost": 0.5, "is_byok": False}


async def test_a_link_that_leads_elsewhere_is_followed_without_our_key(
    videos_server: VideosServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(videos_server, "openrouter", monkeypatch)
    videos_server.jobs["a"] = 0
    videos_server.trouble = [
        said(200, {"id": "a", "status": "completed", "unsigned_urls": ["https://files.example.org/v.mp4?s=1"]})
    ]
    asset = (await run(resume="a"))[-1]
    assert isinstance(asset, Asset)
    assert asset.content == Remote("https://files.example.org/v.mp4?s=1")


async def test_pictures_and_speech_are_one_request_each(videos_server: VideosServer, tmp_path: Path) -> None:
    await run(replace(SPEC, kind=Kind.IMAGE, width=1024, height=1024), folder=tmp_path)
    spoken = replace(SPEC, kind=Kind.AUDIO, voice="vivian", pace="1.2", emotion="calm", background_noise="rain")
    asset = (await run(spoken, folder=tmp_path))[-1]
    assert [each.json for each in videos_server.asked] == [
        {
            "prompt": "A fox – runs.",
            "n": 1,
            "size": "1024x1024",
            "response_format": "b64_json",
            "seed": 42,
            "model": "z-image",
        },
        {
            "input": "A fox – runs.",
            "response_format": "mp3",
            "speed": 1.2,
            "model": "qwen-tts",
            "voice": "vivian",
            "instructions": "Speak in a calm voice.",
        },
    ]
    assert isinstance(asset, Asset)
    assert asset.detail["notes"] == ["This provider adds no background noise."]


async def test_a_picture_may_be_a_link(videos_server: VideosServer, tmp_path: Path) -> None:
    links = {"https://cdn.example.org/a.webp": None, "/files/a.png": videos_server.url}
    for link, origin in links.items():
        videos_server.refuse = [said(200, {"data": [{"url": link, "b64_json": None}]})]
        asset = (await run(replace(SPEC, kind=Kind.IMAGE), folder=tmp_path))[-1]
        assert isinstance(asset, Asset)
        assert isinstance(asset.content, Remote)
        assert asset.content.own_origin == origin
        assert bool(asset.content.headers) == (origin is not None)


@pytest.mark.parametrize(
    ("named", "kinds"),
    [
        ({}, {Kind.VIDEO}),
        ({"images_model": "z"}, {Kind.IMAGE}),
        ({"videos_model": "w", "speech_model": "t"}, {Kind.VIDEO, Kind.AUDIO}),
    ],
)
def test_a_kind_is_offered_when_its_model_is_named(
    named: dict[str, str], kinds: set[Kind], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert videos.from_settings() is None
    monkeypatch.setattr(settings, "videos_api_url", "http://gpu:8000/v1")
    for setting in ("videos_model", "images_model", "speech_model"):
        monkeypatch.setattr(settings, setting, named.get(setting, ""))
    provider = videos.from_settings()
    assert provider is not None
    assert provider.kinds == kinds


# --- while it works --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ([0, 10, 55], [0, 10, 55]),
        ([50, 20, 60], [50, 50, 60]),
        ([0.25, 0.5], [25, 50]),
        ([100, 250, -3], [99, 99, 99]),
        ([None, "half", True], [0, 0, 0]),
    ],
)
async def test_progress_is_a_percent_that_never_falls(
    told: list[object], shown: list[float], videos_server: VideosServer
) -> None:
    videos_server.steps = told
    events = await run()
    assert [event.percent for event in events if isinstance(event, Progress)] == shown


async def test_a_server_in_trouble_is_asked_on_and_paid_once(videos_server: VideosServer) -> None:
    videos_server.trouble = [
        said(500, {"error": {"message": "boom"}}),
        said(429, {"error": "slow down"}, Retry_After="0.01"),
        None,
        whole(200, b"<html>maintenance", Content_Type="text/html"),
        whole(200, b'{"id": "video_gen_0000", "sta')[:-2],
        said(404, {"detail": "Video not found"}),
        said(401, {"error": {"message": "key expired"}}),
        whole(502, b"bad gateway"),
    ]
    events = await run()
    assert isinstance(events[-1], Asset)
    assert videos_server.trouble == []
    assert videos_server.posts == 1
    assert {"the provider is busy", "the provider does not let us ask for it"} <= {
        event.stage for event in events if isinstance(event, Progress)
    }


async def test_a_video_that_the_server_lost_is_over(videos_server: VideosServer) -> None:
    assert (await run(resume="gone"))[-1] == Failed("provider_error", "The provider no longer knows this video.")
    assert videos_server.count("GET") == videos.LOST_AFTER


@pytest.mark.parametrize(
    ("state", "error", "code", "message", "retryable"),
    [
        ("failed", {"code": "x", "message": "Bad prompt"}, "provider_error", "Bad prompt", False),
        ("failed", "Unsafe content", "provider_error", "Unsafe content", False),
        ("failed", {"message": "CUDA out of memory. Tried to allocate 2 GiB"}, "gpu_oom", "memory", True),
        ("cancelled", "stopped", "provider_error", "stopped", False),
        ("expired", None, "provider_error", "could not make it", False),
        ("something new", None, "provider_error", "could not make it", False),
    ],
)
async def test_how_a_job_over_there_may_end(
    state: str, error: object, code: str, message: str, retryable: bool, videos_server: VideosServer
) -> None:
    videos_server.ends = (state, error)
    failed = await failure()
    assert (failed.code, failed.retryable, failed.unknown) == (code, retryable, False)
    assert message in failed.message


# --- what may go wrong at the door -----------------------------------------------------------------------------------

#: What is answered to the POST; what people are told; and what is not usual of the failure.
REFUSALS: list[tuple[bytes | None, str, dict[str, Any]]] = [
    (said(400, {"error": {"message": "size is not supported", "code": 400}}), "size is not supported", {}),
    (said(422, {"detail": [{"loc": ["body", "size"], "msg": "String should match"}]}), "String should match", {}),
    (said(404, {"error": {"message": "The model `x` does not exist."}}), "does not exist", {}),
    (said(403, {"error": "moderation_blocked"}), "moderation_blocked", {}),
    (whole(301, b"", Location="https://elsewhere.example.org/"), "its setting", {}),
    (said(429, {"error": "rate"}, Retry_After="3"), "busy: rate.", {"retryable": True, "waits": True}),
    (said(503, {"detail": "Not initialized."}), "Not initialized.", {"retryable": True, "waits": True}),
    (whole(502, b"<html>Bad Gateway</html>"), "The provider is busy.", {"retryable": True, "waits": True}),
    (said(500, {"error": {"message": "boom"}}), "The provider failed: boom.", {"retryable": True}),
    (said(500, {"detail": "torch.OutOfMemoryError"}), "too little memory", {"code": "gpu_oom", "retryable": True}),
    (whole(504, b"<html>"), "no answer in time", {"code": "provider_timeout", "unknown": True}),
    (None, "broke after it had taken the request", {"unknown": True}),
    (whole(200, b'{"id": "video_')[:-4], "broke after it had taken the request", {"unknown": True}),
    (said(200, {"object": "video"}), "told no id", {"unknown": True}),
    (whole(200, b"[1, 2"), "told no id", {"unknown": True}),
]


@pytest.mark.parametrize(("answer", "words", "unusual"), REFUSALS)
async def test_a_refusal_says_whether_to_try_again(
    answer: bytes | None, words: str, unusual: dict[str, Any], videos_server: VideosServer
) -> None:
    videos_server.refuse = [answer]
    events = await run()
    assert [type(event) for event in events] == [Submitting, Failed]
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert words in failed.message
    assert failed == Failed(**{"code": "provider_error", "message": failed.message, **unusual})
    assert videos_server.posts == 1


async def test_a_server_that_cannot_be_reached_is_waited_for(
    videos_server: VideosServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "videos_api_url", "http://127.0.0.1:1/v1")
    failed = await failure()
    assert failed.waits
    assert not failed.unknown


async def test_what_a_server_says_is_shown_without_key_address_or_tricks(videos_server: VideosServer) -> None:
    text = f"bad {KEY}\x00\n see https://internal.example.org/x?token=1 \ud800" + "long " * 200
    videos_server.refuse = [said(400, {"error": {"message": text}})]
    message = (await failure()).message
    assert KEY not in message
    assert "internal.example" not in message
    assert message.encode().decode().isprintable()
    assert len(message) < 400


@pytest.mark.parametrize("kind", [Kind.IMAGE, Kind.AUDIO])
@pytest.mark.parametrize("cut_after", [120, 400, 2000])
async def test_a_picture_or_sound_that_breaks_off_is_nobody_knows_what(
    kind: Kind, cut_after: int, videos_server: VideosServer, tmp_path: Path
) -> None:
    videos_server.cut_after = cut_after
    failed = await failure(replace(SPEC, kind=kind), tmp_path)
    assert failed.unknown


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        (Kind.IMAGE, said(200, {"data": []}), "without a picture"),
        (Kind.IMAGE, said(200, {"data": [{"b64_json": "%%%"}]}), "cannot be read"),
        (Kind.IMAGE, whole(200, b"{}", Content_Type="text/html"), "without a picture"),
        (Kind.AUDIO, said(200, {"error": {"message": "Invalid voice 'x'"}}), "Invalid voice"),
        (Kind.AUDIO, whole(200, b"", Content_Type="audio/mpeg"), "broke"),
    ],
)
async def test_an_answer_without_a_picture_or_sound(
    kind: Kind, answer: bytes, words: str, videos_server: VideosServer, tmp_path: Path
) -> None:
    videos_server.refuse = [answer]
    assert words in (await failure(replace(SPEC, kind=kind), tmp_path)).message


async def test_to_cancel_deletes_it_over_there(videos_server: VideosServer) -> None:
    provider = videos.from_settings()
    assert provider is not None
    videos_server.held = True
    async with aclosing(provider.run(SPEC, folder=Path())) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Queued):
                break
    await provider.cancel(event.external_id)  # type: ignore[union-attr]
    assert videos_server.deleted == ["video_gen_0000"]
