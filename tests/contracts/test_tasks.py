"""The documented client of TASKS, by curl, and the acceptance scenarios of its contract, with real processes.

Another back end submits, polls, is called back, and finds its results in the storage and in its PayloadCMS.
"""

import json
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from backend.generation.models import Kind
from tests.conftest import Live, free_port
from tests.generation.payload_stub import KEY, Stub
from tests.generation.tasking import asset_bytes

pytestmark = pytest.mark.usefixtures("clean")


# --- the other side --------------------------------------------------------------------------------------------------


@dataclass
class Elsewhere:
    """The back end's own server: pictures of its storyboard, the address of its callbacks, and its CMS behind /api."""

    port: int = field(default_factory=free_port)
    called: list[dict[str, Any]] = field(default_factory=list)
    cms: Stub = field(default_factory=Stub)
    cms_is_down: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    mine = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, said = self._said(body)
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _answer

        def _said(self, body: bytes) -> tuple[int, Any]:
            if self.path == "/board.jpg":
                return 200, asset_bytes(Kind.IMAGE)
            if self.path == "/done":
                mine.called.append(json.loads(body))
                return 200, {}
            if mine.cms_is_down:
                return 503, {}
            headers = {name.lower(): value for name, value in self.headers.items()}
            return mine.cms.answer(self.command, self.path, headers, body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", mine.port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield mine
        server.shutdown()


@pytest.fixture(scope="module")
def live_settings(elsewhere: Elsewhere) -> dict[str, str]:
    return {"OUTBOUND_PORTS": f"80,443,{elsewhere.port}", "ALLOWED_PRIVATE_TARGETS": "127.0.0.1/32"}


@dataclass
class Curl:
    """What the original's documentation has its callers type."""

    base: str
    key: str
    project_id: str

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        command = ["curl", "-s", "-S", "-X", method, f"{self.base}{path}", "-w", "\n%{http_code}"]
        command += ["-H", f"X-API-Key: {self.key}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
        text, _, status = said.rpartition("\n")
        return int(status), json.loads(text)

    def submit(self, task_type: str, task_data: dict[str, Any], **more: Any) -> dict[str, Any]:
        body = {"project_id": self.project_id, "task_type": task_type, "task_data": task_data, **more}
        status, made = self("POST", "/api/v1/tasks/submit", body)
        assert status == 201, made
        return made

    def poll(self, task_id: str, until: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
        """All that was seen on the way, the last as it should be."""
        seen: list[dict[str, Any]] = []
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            status, found = self("GET", f"/api/v1/tasks/{task_id}/status")
            assert status == 200, found
            seen.append(found)
            if until(found):
                return seen
            time.sleep(0.2)
        raise AssertionError(seen[-1])


@pytest.fixture
def person(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=30) as client:
        account = {"email": f"t{secrets.token_hex(6)}@example.org", "password": "a long enough secret"}
        token = client.post("/api/auth/register", json=account).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def back_end(live: Live, person: httpx.Client) -> Curl:
    """A new project of this person, and a key of it."""
    project_id = person.post("/api/projects", json={"name": "Film"}).json()["id"]
    made = person.post(f"/api/projects/{project_id}/api-keys", json={"name": "Back end", "scopes": ["tasks"]})
    return Curl(live.url, made.json()["key"], project_id)


@pytest.fixture
def curl(live: Live, person: httpx.Client) -> Curl:
    return back_end(live, person)


def name_cms(person: httpx.Client, curl: Curl, elsewhere: Elsewhere) -> None:
    elsewhere.cms, elsewhere.cms_is_down = Stub(), False
    body = {"url": elsewhere.url, "collection": "media", "api_key": KEY, "mode": "upload"}
    answer = person.put(f"/api/projects/{curl.project_id}/cms", json=body)
    assert answer.status_code == 200, answer.text


# --- the scenarios ---------------------------------------------------------------------------------------------------


def test_a_storyboard_becomes_a_segment_that_the_cms_confirms(
    curl: Curl, person: httpx.Client, elsewhere: Elsewhere
) -> None:
    name_cms(person, curl, elsewhere)
    health, said = curl("GET", "/api/v1/health")
    assert (health, said["status"]) == (200, "healthy")
    data = {
        "storyboard_images": [f"{elsewhere.url}/board.jpg"] * 2,
        "scene_description": "A harbour at dawn. The boats come in.",
        "camera_angle": "low, from the water",
        "lighting": {"key": "the rising sun"},
        "character_positions": [{"name": "Ada", "at": "the pier"}],
        "audio_cues": ["gulls"],
    }
    made = curl.submit(
        "generate_video", data, priority=1, callback_url=f"{elsewhere.url}/done", metadata={"shot": "12a"}
    )
    assert (made["status"], made["estimated_duration"] > 0) == ("queued", True)
    seen = curl.poll(made["task_id"], lambda found: found["status"] in ("completed", "failed"))
    task = seen[-1]
    assert task["status"] == "completed", task
    progress = [each["progress"] for each in seen]
    assert progress == sorted(progress)
    assert any(0 < each < 1 for each in progress)
    assert any(each["current_step"] for each in seen if each["status"] == "processing")
    facts = task["result"]["metadata"]
    assert (facts["duration"], facts["resolution"]) == (pytest.approx(7, abs=0.1), "1280x720")
    film = httpx.get(task["result"]["media_url"], follow_redirects=True)
    assert (film.headers["content-type"], len(film.content)) == ("video/mp4", facts["file_size"])

    confirmed = curl.poll(made["task_id"], lambda found: found["callback"]["state"] == "delivered")[-1]
    (document,) = elsewhere.cms.documents["media"]
    assert confirmed["result"]["payload_media_id"] == str(document["id"])
    assert (document["task_id"], document["bytes"]) == (made["task_id"], film.content)
    call = next(each for each in elsewhere.called if each["task_id"] == made["task_id"])
    assert (call["status"], call["metadata"], call["project_id"]) == ("completed", {"shot": "12a"}, curl.project_id)
    assert call["result"] == confirmed["result"]
    assert call["processing_time"] > 0


def test_a_cms_that_is_down_loses_nothing(curl: Curl, person: httpx.Client, elsewhere: Elsewhere) -> None:
    name_cms(person, curl, elsewhere)
    elsewhere.cms_is_down = True
    made = curl.submit("image_generation", {"character_description": "An old sailor"})
    waiting = curl.poll(made["task_id"], lambda found: (found["cms"] or {}).get("error"))[-1]
    assert (waiting["status"], waiting["cms"]["error"]) == ("completed", "The CMS answered 503.")
    assert httpx.get(waiting["result"]["media_url"], follow_redirects=True).status_code == 200
    elsewhere.cms_is_down = False
    there = curl.poll(made["task_id"], lambda found: found["cms"]["state"] == "synced")[-1]
    assert there["result"]["payload_media_id"] == str(elsewhere.cms.documents["media"][0]["id"])


def test_pictures_and_speech_come_as_they_were_asked_for(curl: Curl) -> None:
    picture = curl.submit("generate_image", {"character_description": "An old sailor", "pose": "sitting"})
    speech = curl.submit("audio_synthesis", {"text": "The sea was quiet.", "pace": 1.2, "background_noise": "sea"})
    for made, content_type, resolution in ((picture, "image/jpeg", "1024x1024"), (speech, "audio/mpeg", None)):
        task = curl.poll(made["task_id"], lambda found: found["status"] in ("completed", "failed"))[-1]
        if task["error"] and task["error"]["code"] == "provider_unavailable":
            pytest.skip("espeak-ng is not installed")
        assert task["status"] == "completed", task
        result = httpx.get(task["result"]["media_url"], follow_redirects=True)
        facts = task["result"]["metadata"]
        assert (result.headers["content-type"], facts["resolution"]) == (content_type, resolution)


def test_projects_are_walled_off_from_each_other(live: Live, person: httpx.Client, curl: Curl) -> None:
    other = back_end(live, person)
    task_id = curl.submit("test_prompt", {"prompt": "A boat"})["task_id"]
    for method, path in (
        ("GET", f"/api/v1/tasks/{task_id}/status"),
        ("DELETE", f"/api/v1/tasks/{task_id}/cancel"),
        ("POST", f"/api/v1/tasks/{task_id}/retry"),
        ("GET", f"/api/v1/projects/{curl.project_id}/tasks"),
    ):
        status, said = other(method, path)
        assert (status, said["error"]["code"]) == (404, "not_found")
    _, listed = curl("GET", f"/api/v1/projects/{curl.project_id}/tasks?limit=1")
    assert (listed["total"], listed["tasks"][0]["task_id"]) == (1, task_id)
    _, nothing = other("GET", f"/api/v1/projects/{other.project_id}/tasks")
    assert nothing == {"tasks": [], "page": 1, "limit": 20, "total": 0, "total_pages": 0}


def test_a_task_that_runs_is_cancelled_and_one_that_has_ended_is_not(curl: Curl) -> None:
    task_id = curl.submit("render_animation", {"scene_description": "A long way. " * 40, "duration": 60})["task_id"]
    curl.poll(task_id, lambda found: found["status"] == "processing")
    status, said = curl("DELETE", f"/api/v1/tasks/{task_id}/cancel")
    assert (status, said["task_id"]) == (200, task_id)
    assert (
        curl.poll(task_id, lambda found: found["status"] not in ("queued", "processing"))[-1]["status"] == "cancelled"
    )
    for method, verb in (("DELETE", "cancel"), ("POST", "retry")):
        assert curl(method, f"/api/v1/tasks/{task_id}/{verb}")[0] == 400


def test_workers_are_told(curl: Curl) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status, said = curl("GET", "/api/v1/workers/status")
        if said["total_workers"]:
            break
        time.sleep(0.5)
    assert (status, said["total_workers"], said["gpu_utilization"]) == (200, 1, None)
    assert said["workers"][0]["status"] in ("idle", "busy")
