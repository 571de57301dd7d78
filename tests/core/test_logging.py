"""Log lines tell which request and which job they belong to, whoever writes them."""

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from backend.config import settings
from backend.core import logging as our_logging
from backend.core.db import SessionDep, after_commit
from backend.jobs.running import JobError, Run, Runner, run_next
from tests.conftest import Person
from tests.jobs.conftest import Declare, Jobs, declare, jobs  # noqa: F401  # fixtures

log = structlog.get_logger("tests")
foreign = logging.getLogger("a.library")


class Lines:
    """What is written to the log, as the process of an installation writes it."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def clear(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.read()]


@pytest.fixture
def lines(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """The log of this process from now on, as JSON."""
    monkeypatch.setattr(settings, "log_format", "json")
    before = logging.getLogger().handlers
    our_logging.configure()
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    yield Lines(stream)
    logging.getLogger().handlers = before


@pytest.fixture
def strange(app: FastAPI) -> Iterator[None]:
    """Routes that do what no route of ours should."""
    before = list(app.router.routes)

    async def unforeseen(session: SessionDep) -> None:
        raise RuntimeError("nobody foresaw this")

    async def hook() -> None:
        raise OSError("no bell")

    async def rings(session: SessionDep) -> None:
        after_commit(session, hook)

    def in_a_thread() -> None:
        foreign.warning("a library says %s", "this")
        log.warning("thread.says")

    app.get("/strange/unforeseen")(unforeseen)
    app.get("/strange/rings")(rings)
    app.get("/strange/thread")(in_a_thread)
    yield
    app.router.routes[:] = before


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "event"),
    [
        ("/strange/unforeseen", 500, "request.failed"),
        ("/strange/rings", 200, "after_commit.failed"),
        ("/strange/thread", 200, "a library says this"),
        ("/strange/thread", 200, "thread.says"),
        ("/api/nothing", 404, "request"),
    ],
)
async def test_every_line_of_a_request_has_its_id(
    client: httpx.AsyncClient, strange: None, lines: Lines, path: str, status: int, event: str
) -> None:
    answer = await client.get(path, headers={"X-Request-Id": "of-this-request"})
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (status, "of-this-request")
    assert event in lines.events()
    assert lines.events()[-1] == "request"
    assert {line["request_id"] for line in lines.read()} == {"of-this-request"}


async def test_requests_at_once_do_not_mix_their_ids(client: httpx.AsyncClient, strange: None, lines: Lines) -> None:
    ids = [f"request-{number}" for number in range(30)]
    await asyncio.gather(*(client.get("/strange/thread", headers={"X-Request-Id": id}) for id in ids))
    for id in ids:
        of_it = [line["event"] for line in lines.read() if line["request_id"] == id]
        assert of_it == ["a library says this", "thread.says", "request"]


async def test_a_request_that_moves_a_job_names_both(user: Person, jobs: Jobs, declare: Declare, lines: Lines) -> None:  # noqa: F811
    job = await jobs.start(declare())
    lines.clear()
    await user.client.post(f"/api/jobs/{job.id}/cancel", headers={"X-Request-Id": "of-the-cancel"})
    about = [line for line in lines.read() if line["event"].startswith("job.")]
    assert {(line["request_id"], line["job_id"]) for line in about} == {("of-the-cancel", str(job.id))}


async def test_an_unforeseen_error_is_answered_like_any_other(client: httpx.AsyncClient, strange: None) -> None:
    answer = await client.get("/strange/unforeseen")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "nobody foresaw" not in answer.text


async def test_lines_after_a_request_are_not_its_own(client: httpx.AsyncClient, lines: Lines) -> None:
    await client.get("/api/nothing")
    lines.clear()
    log.info("later")
    assert "request_id" not in lines.read()[0]


def test_the_console_never_prints_the_variables_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "log_format", "console")
    before = logging.getLogger().handlers
    our_logging.configure()
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    try:
        password = "".join(("hun", "ter2"))
        try:
            raise LookupError(len(password))
        except LookupError:
            foreign.exception("it broke")
            log.exception("it.broke")
    finally:
        logging.getLogger().handlers = before
    assert stream.getvalue().count("LookupError: 7") == 2
    assert "hunter2" not in stream.getvalue()


# --- jobs ------------------------------------------------------------------------------------------------------------


async def talkative(run: Run) -> None:
    log.info("work.says")
    await run.report("talking", 10)
    foreign.warning("a library says %s", "this")
    await asyncio.to_thread(log.info, "thread.says")
    await asyncio.create_task(asyncio.to_thread(foreign.error, "a task says this"))


async def test_every_line_of_a_job_has_its_id(jobs: Jobs, declare: Declare, lines: Lines) -> None:  # noqa: F811
    async def crashing(run: Run) -> None:
        await talkative(run)
        raise ValueError("it broke")

    async def failing(run: Run) -> None:
        raise JobError("corrupt_media", "The file is broken.")

    for handler, event in ((talkative, "job.completed"), (crashing, "job.crashed"), (failing, "job.failed")):
        kind = declare(handler, max_attempts=1)
        job = await jobs.start(kind)
        lines.clear()
        await run_next(worker="tester", queues=["test"])
        assert event in lines.events()
        assert {(line.get("job_id"), line.get("kind")) for line in lines.read()} == {(str(job.id), kind)}


async def test_jobs_at_once_do_not_mix_their_ids(jobs: Jobs, declare: Declare, lines: Lines) -> None:  # noqa: F811
    async def work(run: Run) -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)
            log.info("work.says", own=str(run.job_id))

    kind = declare(work)
    rows = [await jobs.start(kind) for _ in range(4)]
    runner = Runner(worker="tester", queues=["test"], slots=2)
    await runner.look()
    await runner.look()  # the other two begin where these end
    for row in rows:
        await jobs.wait_for(row.id, "completed")
    said = [(line["job_id"], line["own"]) for line in lines.read() if line["event"] == "work.says"]
    assert len(said) == 20
    assert all(job_id == own for job_id, own in said)
    assert {uuid.UUID(own) for _, own in said} == {row.id for row in rows}
