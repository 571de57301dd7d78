"""Seconds per second of an animatic beside plain ffmpeg encoding the same frames, and the time to submit at 100
requests a second: `make bench-studio`.

The frames of each film are written down raw and encoded again with the same words to ffmpeg, with the film's own
sound: what the animatic takes beyond that is its drawing, speaking and piping. Then a web process is asked to make
things, each request at its time whether or not those before it are answered, by both doors; no worker runs beside it.
BENCH_SECONDS (7), BENCH_ROUNDS (3), BENCH_RATE (100), BENCH_SUBMIT_SECONDS (15).
"""

import asyncio
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from backend.generation.models import Kind
from backend.generation.providers.animatic import Animatic
from backend.generation.providers.base import Asset, Failed, Orientation, Progress, Spec
from backend.generation.spec import FPS, VIDEO_SIZES
from backend.local.stack import Stack
from bench.upload import wait_until_ready

SECONDS = float(os.environ.get("BENCH_SECONDS") or 7)
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
RATE = float(os.environ.get("BENCH_RATE") or 100)
SUBMIT_SECONDS = float(os.environ.get("BENCH_SUBMIT_SECONDS") or 15)
WARM_UP_SECONDS = 2
ROOT = Path(__file__).resolve().parents[1]
PROMPT = (
    "A lighthouse in fog at dawn. Gulls lift off the rail, one after the other. The keeper climbs the last steps and"
    " looks out over the water. Far away a ship answers with two short tones."
)
PASSWORD = secrets.token_urlsafe(16)


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-studio-") as folder:
        for orientation in ("portrait", "landscape"):
            await compare(Path(folder), orientation)
        await submit(Path(folder))


# --- the animatic ----------------------------------------------------------------------------------------------------


async def compare(folder: Path, orientation: Orientation) -> None:
    """Both in turns, so that they meet the same machine."""
    width, height = VIDEO_SIZES[orientation]
    films: list[float] = []
    plain: list[float] = []
    first: list[float] = []
    for number in range(ROUNDS):
        place = folder / f"{orientation}-{number}"
        place.mkdir()
        began = time.perf_counter()
        film, first_progress = await make(place, orientation)
        films.append(time.perf_counter() - began)
        first.append(first_progress)
        raw = place / "frames.yuv"
        ffmpeg("-i", str(film), "-f", "rawvideo", "-pix_fmt", "yuv420p", str(raw))
        began = time.perf_counter()
        size = f"{width}x{height}"
        frames = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", str(FPS), "-i", str(raw)]
        sound = ["-i", str(film), "-map", "0:v", "-map", "1:a?", "-c:a", "aac", "-b:a", "128k"]
        picture = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-g", str(2 * FPS), "-pix_fmt", "yuv420p"]
        ffmpeg(*frames, *sound, *picture, "-movflags", "+faststart", str(place / "plain.mp4"))
        plain.append(time.perf_counter() - began)
        raw.unlink()
    ours, theirs = statistics.median(films), statistics.median(plain)
    say(f"{orientation}, {width}x{height}, {SECONDS:g} s at {FPS} fps, median of {ROUNDS}")
    say(f"  animatic      {ours / SECONDS:5.2f} s a second   rounds: {_told(films)}   told of after {min(first):.2f} s")
    say(f"  plain ffmpeg  {theirs / SECONDS:5.2f} s a second   rounds: {_told(plain)}")
    say(f"  the animatic takes {ours / theirs:.2f} times as long (aim: under 1.50)")


def _told(took: list[float]) -> str:
    return " ".join(f"{each / SECONDS:.2f}" for each in took)


async def make(place: Path, orientation: Orientation) -> tuple[Path, float]:
    """The film, and after how many seconds something was first told of it."""
    width, height = VIDEO_SIZES[orientation]
    spec = Spec(
        id=uuid.uuid4(),
        kind=Kind.VIDEO,
        prompt=PROMPT,
        orientation=orientation,
        width=width,
        height=height,
        seconds=SECONDS,
        fps=FPS,
        seed=7,
    )
    began, first = time.perf_counter(), 0.0
    async for event in Animatic().run(spec, folder=place):
        if isinstance(event, Progress):
            first = first or time.perf_counter() - began
        if isinstance(event, Failed):
            raise RuntimeError(event.message)
        if isinstance(event, Asset):
            assert isinstance(event.content, Path)
            return event.content, first
    raise RuntimeError("the provider ended without a film")


def ffmpeg(*words: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *words], check=True)


# --- submitting ------------------------------------------------------------------------------------------------------


async def submit(folder: Path) -> None:
    stack = Stack(folder / "stack")
    stack.start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, **stack.env(), "ENVIRONMENT": "local", "LOG_LEVEL": "WARNING", "PUBLIC_URL": url}
    env |= {"PORT": str(port), "GENERATIONS_PER_HOUR": "0", "TASKS_QUEUED_MAX": "0"}
    env |= {f"{who}_REQUESTS_PER_MINUTE": "0" for who in ("ADDRESS", "USER", "KEY")}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=env, check=True)
    quiet = subprocess.DEVNULL
    web = subprocess.Popen([sys.executable, "-m", "backend.cli", "web"], cwd=ROOT, env=env, stdout=quiet, stderr=quiet)
    try:
        await asyncio.to_thread(wait_until_ready, url)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=200)) as client:
            token, project, key = await sign_up(client)
            say(f"submitting {RATE:g} a second for {SUBMIT_SECONDS:g} s, one web process, no worker")
            await load(
                web.pid,
                "POST /api/videos (studio)",
                lambda: client.post(
                    "/api/videos", json={"prompt": PROMPT}, headers={"Authorization": f"Bearer {token}"}
                ),
                202,
            )
            task = {"project_id": project, "task_type": "generate_video", "task_data": {"scene_description": PROMPT}}
            await load(
                web.pid,
                "POST /api/v1/tasks/submit",
                lambda: client.post("/api/v1/tasks/submit", json=task, headers={"X-API-Key": key}),
                201,
            )
    finally:
        web.terminate()
        web.wait(30)
        stack.stop()


async def sign_up(client: httpx.AsyncClient) -> tuple[str, str, str]:
    """A token, a project, and a key for its tasks."""
    person = {"email": f"bench-{secrets.token_hex(4)}@example.org", "password": PASSWORD}
    token = (await client.post("/api/auth/register", json=person)).raise_for_status().json()["token"]
    client.headers["Authorization"] = f"Bearer {token}"
    project = (await client.post("/api/projects", json={"name": "Bench"})).raise_for_status().json()["id"]
    wanted = {"name": "Bench", "scopes": ["tasks"]}
    made = await client.post(f"/api/projects/{project}/api-keys", json=wanted)
    key = made.raise_for_status().json()["key"]
    del client.headers["Authorization"]
    return token, project, key


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(web: int, name: str, ask: Callable[[], Any], status: int) -> None:
    """Each request begins at its time; it waited since then, also when this process was late."""
    took: list[float] = []
    refused: Counter[int] = Counter()

    async def one(at: float) -> None:
        answer = await ask()
        if answer.status_code != status:
            refused[answer.status_code] += 1
        took.append(time.perf_counter() - at)

    began, computed = time.perf_counter(), cpu_seconds(web)
    asked = []
    count = int(RATE * (SUBMIT_SECONDS + WARM_UP_SECONDS))
    for number in range(count):
        at = began + number / RATE
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        asked.append(asyncio.create_task(one(at)))
    await asyncio.gather(*asked)
    seconds = time.perf_counter() - began
    counted = took[int(RATE * WARM_UP_SECONDS) :]
    cuts = statistics.quantiles(counted, n=100)
    say(
        f"  {name:<28} p50 {cuts[49] * 1000:5.1f} ms   p95 {cuts[94] * 1000:5.1f} ms   p99 {cuts[98] * 1000:6.1f} ms"
        f"   {count / seconds:.0f}/s answered, refused {dict(refused) or 0}"
        f"   {1000 * (cpu_seconds(web) - computed) / count:.1f} ms of CPU each"
    )


if __name__ == "__main__":
    asyncio.run(main())
