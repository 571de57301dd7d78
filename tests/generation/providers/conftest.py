"""Clips that providers give, servers that give them, and an interpreter with stand-ins for the large libraries."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backend.config import settings
from backend.generation.providers import diffusers, videos
from tests.generation.providers.chat_server import ChatServer
from tests.generation.providers.videos_server import KEY, VideosServer
from tests.generation.providers.wire import serving


def made(path: Path, *words: str) -> bytes:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, str(path)], check=True)
    return path.read_bytes()


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second of 240x426, as MP4."""
    source = "testsrc=duration=1:size=240x426:rate=24"
    return made(tmp_path_factory.mktemp("video") / "a.mp4", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p")


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """256x256, as PNG: servers give that, and we keep JPEG."""
    source = "testsrc=size=256x256:rate=1"
    return made(tmp_path_factory.mktemp("picture") / "a.png", "-f", "lavfi", "-i", source, "-frames:v", "1")


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second of a tone, as MP3."""
    return made(tmp_path_factory.mktemp("sound") / "a.mp3", "-f", "lavfi", "-i", "sine=duration=1")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks after a video at once, again and again."""
    monkeypatch.setattr(videos, "FIRST_POLL_SECONDS", 0.01)
    monkeypatch.setattr(videos, "LAST_POLL_SECONDS", 0.02)
    monkeypatch.setattr(videos, "AWAY_SECONDS", 0.03)


@pytest.fixture
async def videos_server(
    video: bytes, picture: bytes, sound: bytes, hurried: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VideosServer]:
    async with serving(VideosServer(video=video, picture=picture, sound=sound)) as server:
        for name, value in videos_settings(server).items():
            monkeypatch.setattr(settings, name.lower(), value)
        monkeypatch.setattr(settings.videos_api_key, "_secret_value", KEY)
        yield server


def videos_settings(server: VideosServer) -> dict[str, str]:
    return {
        "VIDEOS_API_URL": server.base,
        "VIDEOS_API_DIALECT": server.dialect,
        "VIDEOS_MODEL": "wan-2.2",
        "IMAGES_MODEL": "z-image",
        "SPEECH_MODEL": "qwen-tts",
    }


@pytest.fixture
async def chat_server(video: bytes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatServer]:
    async with serving(ChatServer(video=video)) as server:
        monkeypatch.setattr(settings, "chat_api_url", server.base)
        monkeypatch.setattr(settings, "chat_model", "sora-{orientation}-{seconds}s")
        monkeypatch.setattr(settings.chat_api_key, "_secret_value", KEY)
        yield server


class Models:
    """Folders that the stand-ins take for models."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).parent}/stand_in_python.py "$@"\n')
        self.python.chmod(0o755)
        self.video = self._model(folder / "video", kind="video")
        self.image = self._model(folder / "image", kind="image")

    def _model(self, folder: Path, **told: Any) -> Path:
        folder.mkdir()
        (folder / "stand_in.json").write_text(json.dumps(told))
        return folder

    def tell(self, model: Path, **told: Any) -> None:
        """What it does from its next start on."""
        before = json.loads((model / "stand_in.json").read_text())
        (model / "stand_in.json").write_text(json.dumps({**before, **told}))

    def log(self, model: Path) -> list[str]:
        path = model / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
async def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    made = Models(tmp_path)
    monkeypatch.setattr(settings, "diffusers_python", str(made.python))
    monkeypatch.setattr(settings, "diffusers_video_model", str(made.video))
    monkeypatch.setattr(settings, "diffusers_image_model", str(made.image))
    monkeypatch.setattr(diffusers, "_gpu", diffusers.Gpu())
    yield made
    async with asyncio.timeout(60):
        await diffusers._gpu.end()
