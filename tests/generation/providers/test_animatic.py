"""Animatics: exactly as long as asked for, in the shape asked for, spoken where there is a voice, and honest."""

import json
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backend.generation.providers import animatic_voice
from backend.generation.providers.animatic import Animatic
from backend.generation.providers.base import Asset, Event, Failed, Kind, Progress, Spec
from backend.videos.media_info import MediaError

PROMPT = "A keeper finds a bottle. She reads the message by lamplight. At dawn a ship appears."
WITH_VOICE = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")


def wish(kind: Kind = Kind.VIDEO, prompt: str = PROMPT, **more: Any) -> Spec:
    small = {"width": 180, "height": 320} if kind == Kind.VIDEO else {"width": 256, "height": 256}
    return Spec(id=uuid.uuid4(), kind=kind, prompt=prompt, **{**small, "seconds": 2.0, "seed": 5, **more})


async def events(spec: Spec, folder: Path) -> list[Event]:
    async with aclosing(Animatic().run(spec, folder=folder)) as told:  # type: ignore[type-var]
        return [event async for event in told]


async def made(spec: Spec, folder: Path) -> Asset:
    last = (await events(spec, folder))[-1]
    assert isinstance(last, Asset), last
    return last


def path_of(asset: Asset) -> Path:
    assert isinstance(asset.content, Path)
    return asset.content


def streams(asset: Asset) -> dict[str, dict[str, Any]]:
    words = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path_of(asset))]
    report = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return {each["codec_type"]: each for each in report["streams"]}


def loudness(path: Path) -> float:
    words = ["ffmpeg", "-i", str(path), "-af", "volumedetect", "-vn", "-f", "null", "-"]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stderr
    return float(said.split("mean_volume:")[1].split(" dB")[0])


# --- films -----------------------------------------------------------------------------------------------------------


@WITH_VOICE
async def test_words_that_find_no_room_are_told(tmp_path: Path) -> None:
    asset = await made(wish(seconds=1.0, prompt="The tide comes in slowly and nobody looks up. " * 4), tmp_path)
    assert asset.detail["notes"] == ["So many words cannot all be said in 1 s."]


@pytest.mark.parametrize("seconds", [1.0, 1.5, 3.0, 7.0])
async def test_a_film_is_exactly_as_long_as_asked_for(tmp_path: Path, seconds: float) -> None:
    video = streams(await made(wish(seconds=seconds), tmp_path))["video"]
    assert (int(video["nb_read_frames"]), video["r_frame_rate"]) == (round(seconds * 24), "24/1")
    assert float(video["duration"]) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize("size", [(180, 320), (320, 180), (200, 200), (181, 321)])
async def test_a_film_has_the_shape_asked_for(tmp_path: Path, size: tuple[int, int]) -> None:
    video = streams(await made(wish(width=size[0], height=size[1], seconds=1.0), tmp_path))["video"]
    assert (video["width"], video["height"]) == (size[0] // 2 * 2, size[1] // 2 * 2)
    assert (video["codec_name"], video["pix_fmt"], video["color_space"]) == ("h264", "yuv420p", "bt709")


@WITH_VOICE
async def test_it_is_spoken_for_its_whole_length(tmp_path: Path) -> None:
    asset = await made(wish(seconds=4.0), tmp_path)
    sound = streams(asset)["audio"]
    assert sound["codec_name"] == "aac"
    assert float(sound["duration"]) == pytest.approx(4.0, abs=0.05)
    assert loudness(path_of(asset)) > -40
    assert asset.detail["notes"] == []


async def test_without_a_voice_it_is_silent_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animatic_voice, "is_installed", lambda: False)
    asset = await made(wish(), tmp_path)
    assert "audio" not in streams(asset)
    assert asset.detail["notes"] == ["No voice is installed on the server (espeak-ng), so there is no narration."]


async def test_nobody_speaks_who_was_told_not_to(tmp_path: Path) -> None:
    asset = await made(wish(voice="none"), tmp_path)
    assert ("audio" in streams(asset), asset.detail["notes"]) == (False, [])


async def test_noises_are_heard_also_without_a_voice(tmp_path: Path) -> None:
    asset = await made(wish(voice="none", background_noise="rain"), tmp_path)
    assert loudness(path_of(asset)) > -60


async def test_a_storyboard_is_shown_in_its_order(tmp_path: Path) -> None:
    colours = [(220, 30, 30), (30, 190, 40), (30, 40, 220)]
    pictures = []
    for number, colour in enumerate(colours):
        pictures.append(tmp_path / f"{number}.png")
        Image.new("RGB", (90, 160), colour).save(pictures[-1])
    folder = tmp_path / "work"
    folder.mkdir()
    asset = await made(wish(seconds=6.0, images=tuple(pictures), prompt="One.", voice="none"), folder)
    for second, colour in zip((0.5, 3.0, 5.6), colours, strict=True):
        still = tmp_path / "still.png"
        words = ["ffmpeg", "-v", "error", "-y", "-ss", str(second), "-i", str(path_of(asset)), "-frames:v", "1"]
        subprocess.run([*words, str(still)], check=True)
        with Image.open(still) as picture:
            seen = picture.convert("RGB").getpixel((90, 120))
        assert max(abs(a - b) for a, b in zip(seen, colour, strict=True)) < 45, (second, seen, colour)  # type: ignore[arg-type]


async def test_pictures_that_find_no_room_are_told(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(picture)
    asset = await made(wish(seconds=2.0, images=(picture,) * 5, voice="none"), tmp_path)
    assert asset.detail["notes"] == ["3 of 5 pictures found no room in 2 s."]


async def test_the_same_seed_looks_the_same_and_another_does_not(tmp_path: Path) -> None:
    seen = []
    for seed in (1, 1, 2):
        asset = await made(wish(Kind.IMAGE, seed=seed), tmp_path)
        seen.append(path_of(asset).read_bytes())
        assert asset.seed == seed
    assert (seen[0] == seen[1], seen[0] == seen[2]) == (True, False)
    chosen = await made(wish(Kind.IMAGE, seed=None), tmp_path)
    assert chosen.seed is not None


async def test_it_tells_how_far_it_is_with_pictures(tmp_path: Path) -> None:
    told = await events(wish(seconds=3.0), tmp_path)
    steps = [event for event in told if isinstance(event, Progress)]
    percents = [step.percent for step in steps]
    assert percents == sorted(percents)
    assert {step.stage for step in steps} == {"writing the scenes", "drawing the scenes", "filming"}
    assert any(step.preview is not None for step in steps)


async def test_cancelled_it_leaves_nothing_running(tmp_path: Path) -> None:
    run: AsyncIterator[Event] = Animatic().run(wish(seconds=60.0, width=720, height=1280), folder=tmp_path)
    async for event in run:
        if isinstance(event, Progress) and event.stage == "filming":
            break
    await run.aclose()  # type: ignore[attr-defined]
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout
    assert running == b""


# --- pictures and sounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt", ["A fox", "word " * 190, "漢字" * 200, "🦊 " * 50, "a" * 1000, "السلام عليكم", "\u202e"]
)
async def test_any_words_fit_on_a_card(tmp_path: Path, prompt: str) -> None:
    asset = await made(wish(Kind.IMAGE, prompt=prompt, width=1024, height=1024), tmp_path)
    with Image.open(path_of(asset)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (1024, 1024))
    assert asset.model_used == "animatic"


@WITH_VOICE
async def test_a_sound_is_spoken_at_the_pace_asked_for(tmp_path: Path) -> None:
    lengths = {}
    for pace in ("slow", "normal", "fast", "2.0"):
        asset = await made(wish(Kind.AUDIO, pace=pace), tmp_path)
        lengths[pace] = float(streams(asset)["audio"]["duration"])
        assert (asset.content_type, asset.detail["notes"]) == ("audio/mpeg", [])
    assert lengths["slow"] > lengths["normal"] > lengths["fast"] > lengths["2.0"]


@WITH_VOICE
@pytest.mark.parametrize("voice", ["female", "male", "child", "de", "de-female", "en+f3", "an old man"])
@pytest.mark.parametrize("noise", [None, "sea"])
async def test_voices_and_noises_that_are_known(tmp_path: Path, voice: str, noise: str | None) -> None:
    asset = await made(wish(Kind.AUDIO, voice=voice, background_noise=noise, prompt="Hello there."), tmp_path)
    assert (asset.detail["notes"], loudness(path_of(asset)) > -45) == ([], True)


@WITH_VOICE
async def test_what_is_not_known_is_said_and_spoken_all_the_same(tmp_path: Path) -> None:
    spec = wish(Kind.AUDIO, voice="xenomorph", pace="crawling", emotion="purple", background_noise="dragons")
    asset = await made(spec, tmp_path)
    assert [note.split("“")[1].split("”")[0] for note in asset.detail["notes"]] == [
        "xenomorph",
        "crawling",
        "purple",
        "dragons",
    ]


@WITH_VOICE
@pytest.mark.parametrize("prompt", ["Привет, мир", "γειά σου", "你好", "-v nothing --help", "'; rm -rf /"])
async def test_other_letters_and_strange_texts_are_only_spoken(tmp_path: Path, prompt: str) -> None:
    assert (await made(wish(Kind.AUDIO, prompt=prompt), tmp_path)).content_type == "audio/mpeg"


@WITH_VOICE
async def test_what_cannot_be_spoken_is_told(tmp_path: Path) -> None:
    last = (await events(wish(Kind.AUDIO, prompt="…!?"), tmp_path))[-1]
    assert isinstance(last, Failed)
    assert last.code == "provider_error"


@pytest.mark.parametrize("voice", ["A big man, tired but kind", "It is no robot", "language: xx", "../../etc"])
def test_words_of_a_sentence_are_not_taken_for_languages(voice: str) -> None:
    assert animatic_voice.voice_for("Hello there.", voice=voice, pace=None, emotion=None).name == "en"


@pytest.mark.parametrize("voice", ["de", "de-at", "female DE", "a girl who is ten, language: de"])
def test_a_language_is_named_alone_or_as_what_it_is(voice: str) -> None:
    assert animatic_voice.voice_for("Hello there.", voice=voice, pace=None, emotion=None).name.startswith("de")


async def test_without_a_voice_there_is_no_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animatic_voice, "is_installed", lambda: False)
    [last] = await events(wish(Kind.AUDIO), tmp_path)
    assert isinstance(last, Failed)
    assert (last.code, last.retryable) == ("provider_unavailable", False)


async def test_an_encoder_that_fails_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*args: object, **more: object) -> None:
        raise MediaError("resource_limit", "It took too much.")

    monkeypatch.setattr("backend.generation.providers.animatic_film.run_media_tool", broken)
    last = (await events(wish(), tmp_path))[-1]
    assert isinstance(last, Failed)
    assert (last.message, last.retryable) == ("It could not be made. It took too much.", True)
