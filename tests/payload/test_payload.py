"""With a real PayloadCMS 3: link and upload mode, a document there already, down, a wrong key. `make test-payload`."""

import json
import os
import selectors
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.config import settings
from backend.generation.models import Kind
from backend.generation.providers.base import Asset, Progress
from tests.conftest import free_port
from tests.generation.conftest import make_tasks, tasks, told
from tests.generation.tasking import Tasks, Told, asset_bytes, make_due, run_queue

__all__ = ["make_tasks", "tasks", "told"]  # fixtures

HERE = Path(__file__).parent
NODE = shutil.which("node", path=f"{Path('.venv/bin').resolve()}{os.pathsep}{os.environ.get('PATH', '')}")
pytestmark = pytest.mark.skipif(
    not os.environ.get("TEST_PAYLOAD") or not NODE or not (HERE / "node_modules" / "payload").is_dir(),
    reason="a real PayloadCMS is installed and tried by make test-payload",
)


@dataclass
class Payload:
    """One that can be stopped, and started again at the same port with all that it held."""

    folder: Path
    port: int
    key: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        assert NODE is not None
        command = [NODE, str(HERE / "server.mjs"), str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        ready, until = selectors.DefaultSelector(), time.monotonic() + 120
        ready.register(self.process.stdout, selectors.EVENT_READ)
        while (time.monotonic() < until and ready.select(1)) or self.process.poll() is None:
            line = self.process.stdout.readline()
            if line.startswith('{"port"'):
                self.key = json.loads(line)["apiKey"]
                return
        raise RuntimeError("the CMS did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    async def documents(self, collection: str) -> list[dict[str, Any]]:
        headers = {"Authorization": f"users API-Key {self.key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            found: list[dict[str, Any]] = (await client.get(f"/api/{collection}?depth=0")).json()["docs"]
            return found

    async def file(self, document: dict[str, Any]) -> bytes:
        headers = {"Authorization": f"users API-Key {self.key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            return (await client.get(document["url"])).content


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payload]:
    payload = Payload(tmp_path_factory.mktemp("payload"), free_port())
    payload.start()
    yield payload
    payload.stop()


@pytest.fixture
def payload(running: Payload, monkeypatch: pytest.MonkeyPatch) -> Payload:
    monkeypatch.setattr(settings, "outbound_ports", [80, 443, running.port])
    monkeypatch.setattr(settings, "allowed_private_targets", ["127.0.0.1/32"])
    return running


async def name(tasks: Tasks, payload: Payload, **more: str) -> None:
    body = {"url": payload.url, "collection": "results", "api_key": payload.key, **more}
    answer = await tasks.person.client.put(f"/api/projects/{tasks.project_id}/cms", json=body)
    assert answer.status_code == 200, answer.text


async def tried(tasks: Tasks) -> dict[str, Any]:
    answer = await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/test")
    body: dict[str, Any] = answer.json()
    return body


def of_task(documents: list[dict[str, Any]], task_id: str) -> dict[str, Any]:
    (document,) = [each for each in documents if each["task_id"] == task_id]
    return document


async def test_a_result_is_linked_once_however_often_it_is_sent(tasks: Tasks, told: Told, payload: Payload) -> None:
    await name(tasks, payload)
    assert (await tried(tasks))["ok"] is True
    task_id = await tasks.submit(metadata={"shot": 12, "takes": [1, 2]})
    await run_queue("generation", "outbound")
    found = await tasks.status(task_id)
    assert found["cms"]["state"] == "synced", found["cms"]
    document = of_task(await payload.documents("results"), task_id)
    assert str(document["id"]) == found["result"]["payload_media_id"]
    assert document["media_url"] == found["result"]["media_url"]
    assert (document["metadata"], document["resolution"]) == ({"shot": 12, "takes": [1, 2]}, "64x64")
    assert (document["media_kind"], document["file_size"]) == ("video", found["result"]["metadata"]["file_size"])


@pytest.mark.parametrize("task_type", ["generate_video", "generate_image", "process_audio"])
async def test_the_file_itself_is_uploaded(tasks: Tasks, told: Told, payload: Payload, task_type: str) -> None:
    await name(tasks, payload, collection="media", mode="upload")
    task_id = await tasks.submit(task_type)
    await run_queue("generation", "outbound")
    found = await tasks.status(task_id)
    assert found["cms"]["state"] == "synced", found["cms"]
    document = of_task(await payload.documents("media"), task_id)
    assert document["filesize"] == found["result"]["metadata"]["file_size"]
    assert document["mimeType"] == found["result"]["metadata"]["content_type"]
    moved = await tasks.client.get(found["result"]["media_url"])
    async with httpx.AsyncClient() as anybody:
        ours = (await anybody.get(moved.headers["location"])).content
    assert await payload.file(document) == ours


async def test_a_document_that_is_there_is_changed(tasks: Tasks, told: Told, payload: Payload) -> None:
    await name(tasks, payload, collection="media", mode="upload")
    task_id = await tasks.submit("generate_image")
    headers = {"Authorization": f"users API-Key {payload.key}"}
    async with httpx.AsyncClient(base_url=payload.url, headers=headers) as client:
        form = {"_payload": json.dumps({"task_id": task_id, "alt": "before"})}
        file = {"file": ("old.jpg", asset_bytes(Kind.IMAGE), "image/jpeg")}
        made = await client.post("/api/media", data=form, files=file)
        assert made.status_code == 201, made.text
    await run_queue("generation", "outbound")
    document = of_task(await payload.documents("media"), task_id)
    assert (document["id"], document["alt"]) == (made.json()["doc"]["id"], "An old sailor Style: ink")
    assert (await tasks.status(task_id))["result"]["payload_media_id"] == str(document["id"])


async def test_one_that_is_down_gets_it_when_it_is_back(tasks: Tasks, told: Told, payload: Payload) -> None:
    await name(tasks, payload)
    payload.stop()
    try:
        task_id = await tasks.submit("generate_image")
        await run_queue("generation", "outbound")
        shown = await tasks.status(task_id)
        assert (shown["status"], shown["cms"]["state"]) == ("completed", "waiting")
        assert shown["cms"]["error"].startswith("No connection")
    finally:
        payload.start()
    await make_due("cms_sync")
    await run_queue("outbound")
    assert (await tasks.status(task_id))["cms"]["state"] == "synced"
    assert of_task(await payload.documents("results"), task_id)["alt"] == "An old sailor Style: ink"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"api_key": str(uuid.uuid4())}, "does not let this key"),
        ({"key_collection": "results"}, "does not let this key"),
        ({"collection": "nothing"}, "There is nothing at"),
        ({"collection": "bare"}, "needs a text field named task_id"),
    ],
)
async def test_a_wrong_key_or_collection_is_said_and_put_right(
    tasks: Tasks, told: Told, payload: Payload, wrong: dict[str, str], words: str
) -> None:
    await name(tasks, payload, **wrong)
    said = await tried(tasks)
    assert (said["ok"], words in said["message"]) == (False, True), said
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    found = await tasks.status(task_id)
    assert (found["status"], found["cms"]["state"], words in found["cms"]["error"]) == ("completed", "failed", True)
    await name(tasks, payload)
    await tasks.person.client.post(f"/api/projects/{tasks.project_id}/cms/syncs/retry")
    await run_queue("outbound")
    assert (await tasks.status(task_id))["cms"]["state"] == "synced"


async def test_a_link_in_a_collection_for_uploads_is_refused_in_its_words(
    tasks: Tasks, told: Told, payload: Payload
) -> None:
    await name(tasks, payload, collection="media")
    task_id = await tasks.submit("generate_image")
    await run_queue("generation", "outbound")
    assert "No files were uploaded" in (await tasks.status(task_id))["cms"]["error"]


async def test_a_file_over_its_limit_is_refused_and_not_lost(
    tasks: Tasks, told: Told, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    await name(tasks, payload, collection="media", mode="upload")

    async def large(spec: Any, *, folder: Path, resume: str | None = None) -> Any:
        yield Progress(1, "painting")
        path = folder / "large.mp4"
        noise = ["-f", "lavfi", "-i", "nullsrc=s=640x480:r=24:d=3,geq=random(1)*255:128:128"]
        encode = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-qp",
            "4",
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "faststart",
        ]
        subprocess.run(["ffmpeg", "-v", "error", *noise, *encode, str(path)], check=True)
        yield Asset(path, "video/mp4", "told-1")

    monkeypatch.setattr(told, "run", large)
    task_id = await tasks.submit("generate_video")
    await run_queue()
    for _ in range(4):  # it may hang up while the file comes, so that nobody hears its 413
        await make_due("cms_sync")
        await run_queue("outbound")
    found = await tasks.status(task_id)
    assert found["result"]["metadata"]["file_size"] > 20 * 1024 * 1024
    assert found["cms"]["state"] == "failed", found["cms"]
    assert "than the CMS takes" in found["cms"]["error"], found["cms"]
