"""A provider that does what it is told, in the place of those of the settings; and back ends that have tasks done."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from backend.config import settings
from backend.generation import estimates, providers
from backend.generation.models import Kind
from tests.conftest import MakeUser, Person
from tests.generation.scripted import Offer, Scripted, Studio
from tests.generation.tasking import MakeTasks, Tasks, Told, asset_bytes
from tests.orgs import acting


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Chosen for every kind. It goes on at once, until a test holds it."""
    provider = Told()
    provider.go_on.set()
    monkeypatch.setattr(providers, "_MAKERS", (*providers._MAKERS, lambda: provider))
    for kind in ("video", "image", "audio"):
        monkeypatch.setattr(settings, f"provider_{kind}", provider.name)
    monkeypatch.setattr(estimates, "_known", {})
    return provider


@pytest.fixture
async def make_tasks(app: FastAPI, make_user: MakeUser) -> AsyncIterator[MakeTasks]:
    """A project of a person (a new one, if none is given), and a key of it for tasks."""
    opened: list[httpx.AsyncClient] = []

    async def make(person: Person | None = None, **more: str) -> Tasks:
        person = person or await make_user()
        project_id = await acting.project(person, **more)
        key = await acting.key(person, project_id, "tasks")
        opened.append(acting.program(app, key["key"]))
        return Tasks(person, project_id, opened[-1])

    yield make
    for each in opened:
        await each.aclose()


@pytest.fixture
async def tasks(told: Told, make_tasks: MakeTasks) -> Tasks:
    """One back end, whose tasks the told provider does."""
    return await make_tasks()


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Chosen for every kind; the quota is out of the way."""
    provider = Scripted()
    monkeypatch.setattr(providers, "_MAKERS", (*providers._MAKERS, lambda: provider))
    for kind in ("video", "image", "audio"):
        monkeypatch.setattr(settings, f"provider_{kind}", provider.name)
    monkeypatch.setattr(settings, "generations_per_hour", 0)
    return provider


@pytest.fixture
def offer(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Switches one more provider on."""

    def add(provider: Scripted) -> Scripted:
        monkeypatch.setattr(providers, "_MAKERS", (*providers._MAKERS, lambda: provider))
        return provider

    return add


@pytest.fixture
async def studio(user: Person, scripted: Scripted) -> Studio:
    """A person whose wishes the scripted provider fulfils."""
    return Studio(user)


@pytest.fixture(scope="session")
def picture_bytes() -> bytes:
    """A JPEG of some size."""
    return asset_bytes(Kind.IMAGE)
