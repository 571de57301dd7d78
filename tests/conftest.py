"""Real servers for every test: Postgres, Valkey and S3 on free ports, migrated once, emptied after each test."""

import importlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from passlib.context import CryptContext
from sqlalchemy import text

from backend.config import settings
from backend.core import limits, security
from backend.core.db import Base, transaction
from backend.core.redis import redis
from backend.local.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
for domain in ("accounts", "orgs", "webhooks", "jobs", "videos", "generation", "coaching"):
    importlib.import_module(f"backend.{domain}.models")
importlib.import_module("backend.core.capabilities")
importlib.import_module("backend.core.idempotent_requests")
importlib.import_module("backend.generation.delivery_models")

PASSWORD = "correct horse battery"

#: How long an example takes is the machine's affair.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def environment(stack: Stack) -> dict[str, str]:
    """The environment of a process that works on the test stack; nothing of the caller's own configuration leaks in."""
    own = {name.upper() for name in type(settings).model_fields}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in own}
    return {
        **inherited,
        "ENVIRONMENT": "local",
        "LOG_FORMAT": "console",
        "PUBLIC_URL": "http://127.0.0.1:8000",
        "WORK_DIR": str(stack.data_dir),
        **stack.env(),
    }


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three servers, migrated; `settings` of this process point at them."""
    servers = Stack(tmp_path_factory.mktemp("stack"), durable=False)
    servers.start()
    before = dict(os.environ)
    try:
        ours = environment(servers)
        os.environ.clear()
        os.environ.update(ours)
        settings.__init__(_env_file=None)  # type: ignore[misc]  # read again, in place: modules hold this object
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, check=True, env=os.environ)
        yield servers
    finally:
        os.environ.clear()
        os.environ.update(before)
        servers.stop()


#: As in production: slow on purpose, which two thousand tests that only need somebody signed in cannot afford.
COSTLY_PASSWORDS = security._context


def use_passwords(context: CryptContext) -> None:
    security._context = context
    security._stand_in_hash.cache_clear()


@pytest.fixture
def costly_passwords() -> Iterator[None]:
    """Passwords are hashed in this process as in production."""
    cheap = security._context
    use_passwords(COSTLY_PASSWORDS)
    yield
    use_passwords(cheap)


@pytest.fixture(scope="session")
async def app(stack: Stack) -> AsyncIterator[FastAPI]:
    """The whole application in this process, with its lifespan running; its passwords cost next to nothing."""
    from backend.app import create_app

    use_passwords(COSTLY_PASSWORDS.copy(argon2__memory_cost=64))
    application = create_app()
    async with application.router.lifespan_context(application):
        yield application


async def empty_everything() -> None:
    """Remove all rows, all Redis keys and what was counted here. Objects in S3 stay: their keys are random."""
    tables = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    for attempt in range(5):
        try:
            async with transaction() as session:
                await session.execute(text("SET LOCAL lock_timeout = '2s'"))
                await session.execute(text(f"TRUNCATE {tables} CASCADE"))
            break
        except Exception:  # a request that is still ending may hold a lock or win a deadlock; try again
            if attempt == 4:
                raise
    await redis.client.flushdb()
    limits.forget()


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A program that is not signed in."""
    async with http_client(app) as anonymous:
        yield anonymous
    await empty_everything()


def http_client(app: FastAPI, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("203.0.113.7", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers)


@dataclass
class Person:
    """A registered user: `client` is a program with a token, `browser` holds the session cookie."""

    email: str
    password: str
    id: str
    token: str
    refresh_token: str
    client: httpx.AsyncClient
    browser: httpx.AsyncClient


MakeUser = Callable[..., Awaitable[Person]]


@pytest.fixture
async def make_user(app: FastAPI, client: httpx.AsyncClient) -> AsyncIterator[MakeUser]:
    """Registers people; the first of a test is the installation's admin unless `admin_first=False` made one before."""
    opened: list[httpx.AsyncClient] = []

    async def make(email: str | None = None, password: str = PASSWORD) -> Person:
        email = email or f"u{secrets.token_hex(6)}@example.org"
        answer = await client.post("/api/auth/register", json={"email": email, "password": password})
        assert answer.status_code == 201, answer.text
        body = answer.json()
        program = http_client(app, Authorization=f"Bearer {body['token']}")
        browser = http_client(app, **{"Sec-Fetch-Site": "same-origin", "Accept": "text/html"})
        signed_in = await browser.post("/login", data={"email": email, "password": password})
        assert signed_in.status_code == 303, signed_in.text
        opened.extend((program, browser))
        return Person(email, password, body["user"]["id"], body["token"], body["refresh_token"], program, browser)

    yield make
    for each in opened:
        await each.aclose()


@pytest.fixture
async def user(make_user: MakeUser) -> Person:
    return await make_user()


@pytest.fixture
async def other(user: Person, make_user: MakeUser) -> Person:
    """A second person, who is no admin and shares nothing with `user`."""
    return await make_user()


@pytest.fixture
async def run_jobs(client: httpx.AsyncClient) -> Callable[[], Awaitable[int]]:
    """Runs the jobs that are due, in this process, until none is left; answers how many ran."""
    from backend.jobs import running

    async def run() -> int:
        count = 0
        while await running.run_next(worker="test"):
            count += 1
        return count

    return run


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Live:
    """A web process and a worker of their own, as in production; `url` is where browsers go."""

    url: str
    web: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="module")
def live_settings() -> dict[str, str]:
    """Settings of `live` beside the usual ones, as environment variables; a module may have its own."""
    return {}


@pytest.fixture(scope="module")
def live(stack: Stack, tmp_path_factory: pytest.TempPathFactory, live_settings: dict[str, str]) -> Iterator[Live]:
    """Web and worker as processes, for tests that need a real server: browsers, event streams, killed workers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {**environment(stack), "PUBLIC_URL": url, **live_settings}
    log = tmp_path_factory.mktemp("live") / "live.log"
    with log.open("wb") as sink:
        start = {"cwd": ROOT, "env": env, "stdout": sink, "stderr": subprocess.STDOUT}
        web = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "backend.app:create_app", "--factory", "--port", str(port)],
            **start,  # type: ignore[call-overload]
        )
        worker = subprocess.Popen([sys.executable, "-m", "backend.cli", "worker"], **start)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{url}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline or web.poll() is not None:
                raise RuntimeError(f"the web process did not become ready:\n{log.read_text()}")
            time.sleep(0.1)
        yield Live(url, web, worker, log)
    finally:
        for process in (worker, web):
            process.terminate()
        for process in (worker, web):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
async def clean(app: FastAPI) -> AsyncIterator[None]:
    """Empties the tables after a test that uses `live` without `client`."""
    yield
    await empty_everything()
