"""The checks of what generates, with servers that answer in every way, and interpreters that lack something."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.admin.doctor import generating as checks
from backend.admin.doctor.findings import State
from backend.config import settings
from tests.admin.doctor.conftest import Examine
from tests.generation.providers.wire import Asked, Server, said, serving, whole


@dataclass
class Models(Server):
    """Answers /models as it is told."""

    answered: bytes = said(200, {"object": "list", "data": []})

    async def answer(self, asked: Asked) -> AsyncIterator[bytes]:
        yield self.answered if asked.path == "/v1/models" else said(404, {})


async def test_without_settings_animatic_does_everything(examine: Examine) -> None:
    for check in checks.CHECKS:
        found = await examine(check)
        assert (found.state, found.fix) == (State.OK, ""), found


async def test_a_provider_that_is_chosen_and_not_switched_on(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "provider_video", "videos")
    found = await examine(checks.chosen)
    assert (found.state, "PROVIDER_VIDEO=videos" in found.words) == (State.FAILED, True)
    monkeypatch.setattr(settings, "videos_api_url", "http://gpu.internal/v1")
    assert (await examine(checks.chosen)).state is State.OK
    monkeypatch.setattr(settings, "provider_audio", "videos")
    found = await examine(checks.chosen)
    assert (found.state, "PROVIDER_AUDIO=videos" in found.words) == (State.FAILED, True)


@pytest.mark.parametrize(
    ("answered", "state", "words"),
    [
        (said(200, {"data": []}), State.OK, "It answers."),
        (said(401, {"error": "no"}), State.FAILED, "It refuses our key."),
        (whole(404, b""), State.WARNING, "knows no …/models"),
    ],
)
async def test_a_server_is_asked_for_its_models(
    answered: bytes, state: State, words: str, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Models(answered=answered)) as server:
        for setting, check in (("videos", checks.videos_server), ("chat", checks.chat_server)):
            monkeypatch.setattr(settings, f"{setting}_api_url", f"{server.url}/v1")
            monkeypatch.setattr(getattr(settings, f"{setting}_api_key"), "_secret_value", "sk-1")
            found = await examine(check)
            assert (found.state, words in found.words) == (state, True), found
    assert {each.headers["authorization"] for each in server.asked} == {"Bearer sk-1"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/v1", "http://[", "gpu"])
async def test_a_server_that_is_not_there(url: str, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "videos_api_url", url)
    found = await examine(checks.videos_server)
    assert (found.state, "VIDEOS_API_URL" in found.fix) == (State.FAILED, True), found


async def test_the_libraries_are_tried_where_the_gpu_is(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "diffusers_video_model", "/models/wan")
    assert (await examine(checks.libraries)).state is State.SKIPPED
    monkeypatch.setattr(settings, "worker_queues", ["gpu"])
    for python, words in (("/no/such/python", "no program"), ("", "lacks what it needs")):
        monkeypatch.setattr(settings, "diffusers_python", python)
        found = await examine(checks.libraries)
        assert (found.state, words in found.words, "make diffusers" in found.fix) == (State.FAILED, True, True), found
    for printed, state in (("2.13.0", State.WARNING), ("2.13.0 NVIDIA H100", State.OK)):
        fake = tmp_path / "python"
        fake.write_text(f"#!/bin/sh\necho '{printed}'\n")
        fake.chmod(0o755)
        monkeypatch.setattr(settings, "diffusers_python", str(fake))
        assert (await examine(checks.libraries)).state is state
