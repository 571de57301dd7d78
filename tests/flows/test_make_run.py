"""`make run` itself, in a temporary copy of the project: the main job over HTTP, the end, and the second start.

The copy holds the files that git knows. `.venv` and `node_modules` are links to those of this checkout (`make test` has
just set them up), so that nothing is fetched; everything else is made by the copy: the build, the data, the secrets.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

from backend.local.ports import Ports
from backend.local.processes import ROOT

START_SECONDS = 120
STOP_SECONDS = 40


@dataclass
class Running:
    """A `make run` and what it printed."""

    process: subprocess.Popen[str]
    lines: list[str]
    seconds: float
    address: str

    @property
    def supervisor(self) -> int:
        """The process that `make` started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The copy, below a folder that only its owner may enter."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    copy = home / "dailies"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    subprocess.run([sys.executable, "bootstrap.py", "setup", "--dev"], cwd=ROOT, check=True)
    for name in (".venv", "node_modules"):
        (copy / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "static" / "dist", copy / "static" / "dist")
    yield copy
    for line in processes_of(copy):
        os.kill(int(line.split()[0]), signal.SIGKILL)


@pytest.fixture(scope="module")
def port() -> int:
    """Where the copy is served."""
    return Ports.free().s3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One second of a real video."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=1"]
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *source, *codec, str(path)], check=True)
    return path.read_bytes()


def make_run(project: Path, port: int) -> Running:
    """Start it as a person does, and wait for the last line."""
    began = time.monotonic()
    process = subprocess.Popen(
        ["make", "run", f"PYTHON={sys.executable}"],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project.parent), "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to a whole process group; so can we, and hit nobody else
    )
    assert process.stdout is not None
    lines = read_until(process.stdout, "Dailies is ready at ")
    assert lines[-1].startswith("Dailies is ready at "), "\n".join(lines)
    return Running(process, lines, time.monotonic() - began, lines[-1].split()[-1])


def read_until(output: IO[str], start: str) -> list[str]:
    """Lines up to the one that starts so, or to the end of the output."""
    lines = []
    for line in output:
        lines.append(line.rstrip("\n"))
        if line.startswith(start):
            break
    return lines


def end(running: Running, number: int) -> tuple[int, str]:
    """Send a signal to its process group and wait; the exit code and what was still printed."""
    os.killpg(running.process.pid, number)
    rest, _ = running.process.communicate(timeout=STOP_SECONDS)
    return running.process.returncode, rest


def processes_of(project: Path) -> list[str]:
    """Everything alive that names the copy in its arguments or environment, or works inside it."""
    found = []
    needle = str(project).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes()
            inside = os.readlink(entry / "cwd").startswith(str(project))
            mentions = needle in arguments or needle in (entry / "environ").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is not ours
        if inside or mentions:
            found.append(f"{entry.name} {arguments.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def wait_until_nothing_runs(project: Path, seconds: float) -> None:
    """Fail with the list when something stays."""
    until = time.monotonic() + seconds
    while left := processes_of(project):
        assert time.monotonic() < until, "still running:\n" + "\n".join(left)
        time.sleep(0.05)


def upload(address: str, clip: bytes) -> tuple[dict[str, str], str]:
    """The main job as a client does it: account, signed URL, PUT, confirm, wait. Answers its headers and the video."""
    with httpx.Client(base_url=address, timeout=60) as client:
        person = {"email": "someone@example.org", "password": "correct horse battery"}
        answer = client.post("/api/auth/register", json=person)
        assert answer.status_code == 201, answer.text
        headers = {"Authorization": f"Bearer {answer.json()['token']}"}
        wanted = {"filename": "clip.mp4", "size": len(clip), "content_type": "video/mp4"}
        place = client.post("/api/upload/presigned-url", json=wanted, headers=headers).json()
        stored = httpx.put(place["upload_url"], content=clip, headers=place["headers"], timeout=60)
        assert stored.status_code == 200, stored.text
        confirmed = client.post(
            "/api/videos", json={"video_id": place["video_id"], "title": "From make run"}, headers=headers
        )
        assert confirmed.status_code == 201, confirmed.text
        video = confirmed.json()
        until = time.monotonic() + 30
        while video["status"] != "completed":
            assert video["status"] in ("uploaded", "processing"), video
            assert time.monotonic() < until, video
            time.sleep(0.1)
            video = client.get(f"/api/videos/{video['id']}", headers=headers).json()
        assert (video["width"], video["height"]) == (320, 180)
    return headers, video["id"]


def play(address: str, headers: dict[str, str], video: str) -> bytes:
    """The bytes that a player gets."""
    with httpx.Client(base_url=address, timeout=60) as client:
        answer = client.get(f"/api/videos/{video}/playback-url", headers=headers)
        assert answer.status_code == 200, answer.text
        return httpx.get(answer.json()["url"], timeout=60).content


@pytest.fixture(scope="module")
def first_run(project: Path, port: int, clip: bytes) -> tuple[Running, dict[str, str], str, int, str]:
    """Started, used and ended with Ctrl-C: what was printed, who uploaded, the video, the exit code, the last lines."""
    running = make_run(project, port)
    headers, video = upload(running.address, clip)
    assert play(running.address, headers, video) == clip
    code, rest = end(running, signal.SIGINT)
    return running, headers, video, code, rest


FirstRun = tuple[Running, dict[str, str], str, int, str]


def test_it_prints_each_step_with_its_time_and_last_the_address(first_run: FirstRun, port: int) -> None:
    running = first_run[0]
    assert running.lines[-1] == f"Dailies is ready at http://127.0.0.1:{port}"
    for line in running.lines[:-1]:
        assert re.search(r"\d+\.\d s$", line), line
    said = "\n".join(running.lines)
    assert all(step in said for step in ("postgres", "valkey", "s3", "migrations", "worker", "web"))


def test_ctrl_c_stops_everything_in_order_and_leaves_no_process(first_run: FirstRun, project: Path) -> None:
    rest = first_run[4]
    stopped = re.findall(r"^  (\w+) stopped", rest, flags=re.MULTILINE)
    assert stopped == ["web", "worker", "s3", "valkey", "postgres"]
    assert "Traceback" not in rest
    wait_until_nothing_runs(project, 5)


def test_its_secrets_are_its_own_and_readable_by_nobody_else(first_run: FirstRun, project: Path) -> None:
    secrets = project / ".data" / "secrets.json"
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert (project / ".data").stat().st_mode & 0o777 == 0o700
    logs = "".join(path.read_text(errors="replace") for path in (project / ".data" / "logs").glob("*.log*"))
    for name, value in json.loads(secrets.read_text()).items():
        assert value not in logs, f"{name} is in a log"
    assert "X-Amz-Signature" not in logs


def test_after_a_second_start_the_video_is_still_there(
    first_run: FirstRun, project: Path, port: int, clip: bytes
) -> None:
    _, headers, video, _, _ = first_run
    running = make_run(project, port)
    print(f"second start: {running.seconds:.1f} s")  # under 5 s on an idle machine; a loaded one proves nothing
    try:
        assert play(running.address, headers, video) == clip
    finally:
        end(running, signal.SIGTERM)
    wait_until_nothing_runs(project, 5)


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_works(
    first_run: FirstRun, project: Path, port: int, clip: bytes
) -> None:
    _, headers, video, _, _ = first_run
    running = make_run(project, port)
    os.kill(running.supervisor, signal.SIGKILL)
    running.process.communicate(timeout=STOP_SECONDS)
    wait_until_nothing_runs(project, 5)

    again = make_run(project, port)
    try:
        assert play(again.address, headers, video) == clip
    finally:
        end(again, signal.SIGINT)


def test_a_killed_make_takes_everything_with_it(first_run: FirstRun, project: Path, port: int) -> None:
    running = make_run(project, port)
    running.process.kill()
    rest, _ = running.process.communicate(timeout=STOP_SECONDS)
    print(rest)
    wait_until_nothing_runs(project, 5)


def test_a_crashed_part_comes_back_and_a_second_run_is_refused(first_run: FirstRun, project: Path, port: int) -> None:
    running = make_run(project, port)
    try:
        second = subprocess.run(
            ["make", "run", f"PYTHON={sys.executable}"],
            cwd=project,
            env={"PATH": os.environ["PATH"], "PORT": str(Ports.free().s3)},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert second.returncode != 0
        assert f"already running on {project / '.data'} (process {running.supervisor})" in second.stderr

        web = next(int(line.split()[0]) for line in processes_of(project) if "backend.cli web" in line)
        os.kill(web, signal.SIGKILL)
        assert running.process.stdout is not None
        said = read_until(running.process.stdout, "  web is back")
        assert said[-2].startswith("  web ended (signal 9); starting it again in ")
        assert httpx.get(f"{running.address}/health", timeout=60).status_code == 200
    finally:
        end(running, signal.SIGINT)
    wait_until_nothing_runs(project, 5)
