"""What the Python client does with answers and with their absence, against a server that says what a test wants."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from dailies_client import (
    ApiError,
    AsyncClient,
    Client,
    Conflict,
    ConnectionFailed,
    DailiesError,
    NotFound,
    RateLimited,
    ServerFailed,
    SessionEnded,
    TimedOut,
    Tokens,
    Unavailable,
    UnexpectedAnswer,
    ValidationFailed,
    models,
    task_models,
)
from dailies_client._sse import Reader

URL = "http://dailies.test"
Handler = Callable[[httpx.Request], httpx.Response]
PROJECT = {
    "id": "p1",
    "name": "Film club",
    "personal": True,
    "organization_id": None,
    "role": "owner",
    "permissions": ["view"],
    "created_at": "2026-01-02T03:04:05Z",
    "something_new": 1,
}
JOB = {
    "id": "j1",
    "kind": "probe",
    "queue": "media",
    "status": "running",
    "progress": 10,
    "attempt": 1,
    "max_attempts": 3,
    "project_id": "p1",
    "created_at": "2026-01-02T03:04:05Z",
}


def said(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"error": {"code": code, "message": "No.", "request_id": "r1", "fields": {"name": "Too long"}}}
    return httpx.Response(status, json=body, headers={"X-Request-Id": "r1", **headers})


def client(handler: Handler, **more: Any) -> Client:
    given = {"api_key": "dly_x_y", **more}
    return Client(URL, transport=httpx.MockTransport(handler), **given)


def in_turn(*answers: httpx.Response | Exception) -> tuple[list[httpx.Request], Handler]:
    left, seen = list(answers), []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return seen, handler


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", NotFound),
        (422, "validation_failed", ValidationFailed),
        (409, "of_a_newer_server", Conflict),
        (500, "internal", ServerFailed),
        (401, "session_revoked", SessionEnded),
    ],
)
def test_answers_that_say_no_are_exceptions_by_kind(status: int, code: str, kind: type[ApiError]) -> None:
    seen, handler = in_turn(said(status, code))
    with client(handler) as dailies, pytest.raises(kind) as caught:
        dailies.projects.get("p1")
    error = caught.value
    assert (error.status, error.code, error.request_id, error.fields) == (status, code, "r1", {"name": "Too long"})
    assert len(seen) == 1
    assert isinstance(error, DailiesError)


def test_what_is_not_the_platform_is_said_to_be_so() -> None:
    for answer, kind in (
        (httpx.Response(200, text="<h1>Welcome</h1>"), UnexpectedAnswer),
        (httpx.Response(200, json={"projects": [{"id": 1}]}), UnexpectedAnswer),
        (httpx.Response(200, json=[]), UnexpectedAnswer),
        (httpx.Response(301, headers={"Location": "https://dailies.test/"}), UnexpectedAnswer),
        (httpx.Response(502, text="<h1>Bad gateway</h1>"), Unavailable),
    ):
        with client(in_turn(answer)[1], retries=0) as dailies, pytest.raises(kind):
            dailies.projects.list()
    with pytest.raises(ValueError, match="base_url"):
        Client("dailies.test")


def test_an_id_leads_nowhere_else() -> None:
    seen, handler = in_turn(httpx.Response(200, json=PROJECT))
    with client(handler) as dailies:
        for none in ("", "..", "../videos", "p1?x=1", "p1/members", "p1%2f", "p1\n"):
            with pytest.raises(ValueError, match="id"):
                dailies.projects.get(none)
    assert seen == []


def test_what_a_newer_server_adds_is_passed_over() -> None:
    with client(in_turn(httpx.Response(200, json={"projects": [PROJECT]}))[1]) as dailies:
        (project,) = dailies.projects.list()
    assert (project.id, project.created_at) == ("p1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_what_fails_for_the_moment_is_sent_again_under_the_same_key() -> None:
    seen, handler = in_turn(
        httpx.ConnectError("no"), httpx.ReadTimeout("slow"), said(503, "busy"), httpx.Response(201, json=PROJECT)
    )
    with client(handler) as dailies:
        dailies.projects.create("Film club")
        first = {request.headers["Idempotency-Key"] for request in seen}
        dailies.projects.create("Film club")
    assert len(seen) == 5
    assert len(first) == 1
    assert seen[-1].headers["Idempotency-Key"] not in first
    assert seen[0].headers["X-API-Key"] == "dly_x_y"

    seen, handler = in_turn(httpx.ConnectError("no"))
    with client(handler, retries=2) as dailies, pytest.raises(ConnectionFailed):
        dailies.projects.list()
    assert len(seen) == 3
    assert "Idempotency-Key" not in seen[0].headers


def test_retry_after_is_kept_to_unless_it_is_too_long() -> None:
    seen, handler = in_turn(said(429, "rate_limited", **{"Retry-After": "1"}), httpx.Response(200, json=PROJECT))
    with client(handler) as dailies:
        begun = time.monotonic()
        dailies.projects.get("p1")
        assert time.monotonic() - begun >= 1
    assert len(seen) == 2
    seen, handler = in_turn(said(429, "rate_limited", **{"Retry-After": "3600"}))
    with client(handler) as dailies, pytest.raises(RateLimited) as caught:
        dailies.projects.get("p1")
    assert (caught.value.retry_after, len(seen)) == (3600, 1)


class Session:
    """A server whose first token has ended, and whose refresh tokens work once."""

    def __init__(self) -> None:
        self.refreshed = 0
        self.lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            if request.url.path == "/api/auth/refresh":
                if json.loads(request.content)["refresh_token"] != f"refresh-{self.refreshed}":
                    return said(401, "refresh_reused")
                self.refreshed += 1
                token, refresh = f"token-{self.refreshed}", f"refresh-{self.refreshed}"
                return httpx.Response(200, json={"token": token, "refresh_token": refresh, "expires_in": 600})
            if request.headers["Authorization"] != f"Bearer token-{max(1, self.refreshed)}":
                return said(401, "unauthenticated")
            return httpx.Response(200, json=PROJECT)


@pytest.mark.parametrize("minutes", [10, 0])
def test_a_token_is_renewed_once_for_all_threads(minutes: int) -> None:
    server, kept = Session(), list[Tokens | None]()
    tokens = Tokens("token-0", "refresh-0", datetime.now(UTC) + timedelta(minutes=minutes))
    with client(server, api_key=None, tokens=tokens, on_tokens=kept.append) as dailies:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: dailies.projects.get("p1"), range(16)))
        assert len(found) == 16
        assert server.refreshed == 1
        assert kept == [dailies.tokens]
        assert repr(dailies.tokens).count("token-1") == 0


async def test_a_token_is_renewed_once_for_all_tasks() -> None:
    server = Session()
    tokens = Tokens("token-0", "refresh-0", datetime.now(UTC))
    async with AsyncClient(URL, tokens=tokens, transport=httpx.MockTransport(server)) as dailies:
        await asyncio.gather(*(dailies.projects.get("p1") for _ in range(16)))
    assert server.refreshed == 1


def event(status: str, number: int, **more: Any) -> bytes:
    data = json.dumps({**JOB, "status": status, **more})
    return f"event: progress\nid: {number}\nretry: 10\ndata: {data}\n\n".encode()


class Lost(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer that breaks off."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks

    def __iter__(self) -> Any:
        yield from self.chunks
        raise httpx.ReadError("cut")


def test_a_lost_stream_is_taken_up_after_the_last_event() -> None:
    seen, handler = in_turn(
        httpx.Response(200, stream=Lost(event("running", 1)[:-5])),
        httpx.Response(200, stream=Lost(event("running", 1), b": ping\n\n", event("running", 2, progress=50)[:30])),
        httpx.ConnectError("restarting"),
        httpx.Response(200, content=b": closed for shutdown\n\n"),
        httpx.Response(200, content=event("running", 2, progress=50) + event("completed", 3, progress=100)),
    )
    with client(handler) as dailies:
        states = [(job.status, job.progress) for job in dailies.jobs.follow("j1")]
    assert states == [("running", 10), ("running", 50), ("completed", 100)]
    assert [request.headers.get("Last-Event-ID") for request in seen] == [None, None, "1", "1", "1"]


def test_a_stream_that_stays_away_and_one_that_takes_too_long_end_in_words() -> None:
    with client(in_turn(httpx.ConnectError("away"))[1], retries=1) as dailies, pytest.raises(ConnectionFailed):
        dailies.jobs.wait("j1")
    forever = in_turn(httpx.Response(200, content=event("running", 1)))[1]
    with client(forever) as dailies, pytest.raises(TimedOut):
        dailies.jobs.wait("j1", timeout=0.3)


def test_events_are_read_from_pieces_of_any_size() -> None:
    windows = b": hello\r\n\r\nid: 7\r\nevent: progress\r\nretry: 1500\r\ndata: {\r\ndata:  }\r\n\r\n"
    raw = windows + b"data: \xc3\xa9\n\nid: 8\n"
    for size in (1, 2, 3, 7, len(raw)):
        reader = Reader()
        events = [each for at in range(0, len(raw), size) for each in reader.feed(raw[at : at + size])]
        assert [(each.name, each.data, each.id, each.retry_seconds) for each in events] == [
            ("progress", "{\n }", "7", 1.5),
            ("message", "é", None, None),
        ]


def test_the_models_are_what_the_platform_describes(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    names = {
        models.Video: "VideoOut",
        models.Upload: "UploadOut",
        models.Part: "PartOut",
        models.Problem: "ErrorOut",
        models.Preview: "PreviewOut",
        models.Rendition: "RenditionOut",
        models.Playback: "PlaybackOut",
        models.Usage: "UsageOut",
        models.Job: "JobOut",
        models.User: "UserOut",
        models.Project: "ProjectOut",
        models.Key: "KeyOut",
        models.NewKey: "KeyMadeOut",
        models.Webhook: "WebhookOut",
        models.NewWebhook: "WebhookMade",
        models.NewSecret: "SecretOut",
        models.Attempt: "AttemptOut",
        models.Delivery: "DeliveryOut",
        models.DeliveryDetail: "DeliveryDetail",
        task_models.NewTask: "TaskMade",
        task_models.Task: "TaskOut",
        task_models.TaskResult: "TaskResult",
        task_models.TaskCallback: "CallbackOut",
        task_models.CmsSync: "CmsSyncOut",
        task_models.TaskCancelled: "TaskCancelled",
        task_models.TaskWorker: "TaskWorkerOut",
        task_models.TaskWorkers: "WorkersOut",
    }
    every = [*vars(models).values(), *vars(task_models).values()]
    assert {each for each in every if is_dataclass(each)} - {models.Tokens} == set(names)
    for model, name in names.items():
        ours = {each.name: each for each in fields(model)}
        # Where two parts of the platform have one of this name, they are told apart by a prefix.
        described = [each["properties"] for key, each in schemas.items() if key.split("__")[-1] == name]
        theirs = next((each for each in described if each.keys() == ours.keys()), None)
        assert theirs is not None, f"{name}: {[each.keys() ^ ours.keys() for each in described]}"
        for field, each in ours.items():
            nullable = "null" in json.dumps(theirs[field].get("anyOf", ""))
            assert ("None" in str(each.type)) == nullable, f"{name}.{field}"
