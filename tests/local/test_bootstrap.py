"""bootstrap.py: what it decides on machines that lack something, and that it repairs what was interrupted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap
from backend.local.processes import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that bootstrap takes for its own."""
    venv = tmp_path / ".venv"
    for name, path in {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "STAMP": venv / "dailies.json",
        "UNFINISHED": venv / "unfinished",
        "MODULES": tmp_path / "node_modules",
        "POSE_MODEL": venv / "share" / "dailies" / "pose.task",
        "FAILED": tmp_path / ".pytest_cache" / "v" / "cache" / "lastfailed",
    }.items():
        monkeypatch.setattr(bootstrap, name, path)
    return tmp_path


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records what would be run instead of running it."""
    said: list[str] = []
    monkeypatch.setattr(bootstrap, "run_quietly", lambda command, env=None: said.append(" ".join(map(str, command))))
    return said


def lack(monkeypatch: pytest.MonkeyPatch, *tools: str) -> None:
    """A machine without these programs."""
    there = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name in tools else there(name) or f"/bin/{name}")


def test_debians_bare_python_is_noticed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch)
    found = {"venv": object()}  # `ensurepip` is in the package python3-venv
    monkeypatch.setattr(bootstrap, "find_spec", found.get)
    assert bootstrap.missing_packages(browser=True) == ["python3-venv"]
    found["ensurepip"] = object()
    assert bootstrap.missing_packages(browser=True) == []


def test_what_lacks_is_named_as_debian_names_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "ffprobe", "chromium", "chromium-browser")
    assert bootstrap.missing_packages(browser=False) == ["ffmpeg"]
    assert bootstrap.missing_packages(browser=True) == ["ffmpeg", "chromium"]


def test_root_installs_after_refreshing_the_lists(monkeypatch: pytest.MonkeyPatch, commands: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    lack(monkeypatch)
    bootstrap.install_system_packages(["python3-venv", "ffmpeg"])
    assert commands == [
        "apt-get -q update",
        "apt-get install --no-install-recommends python3-venv ffmpeg -q -y",
    ]
    commands.clear()
    bootstrap.install_system_packages([])
    assert commands == []


def test_others_are_told_the_one_line(monkeypatch: pytest.MonkeyPatch, commands: list[str]) -> None:
    lack(monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.Stop) as told:
        bootstrap.install_system_packages(["ffmpeg"])
    line = "please run once: sudo apt-get update && sudo apt-get install --no-install-recommends ffmpeg -y"
    assert str(told.value) == line
    lack(monkeypatch, "apt-get")
    with pytest.raises(bootstrap.Stop, match="install ffmpeg with your system's package manager"):
        bootstrap.install_system_packages(["ffmpeg"])
    assert commands == []


def test_the_voice_is_installed_where_that_is_allowed_and_tried_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, commands: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.VENV.mkdir()
    lack(monkeypatch, "espeak-ng")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    bootstrap.install_voice()
    assert commands == [], "nobody is asked for a password for the sake of a voice"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    bootstrap.install_voice()
    assert commands == ["apt-get -q update", "apt-get install --no-install-recommends espeak-ng -q -y"]
    bootstrap.install_voice()
    assert len(commands) == 2
    (bootstrap.VENV / "voice-tried").unlink()

    def fail(command: list[str], env: object = None) -> None:
        raise bootstrap.Stop("no network")

    monkeypatch.setattr(bootstrap, "run_quietly", fail)
    bootstrap.install_voice()
    assert "no voice" in capsys.readouterr().err


def test_a_python_that_is_too_old_is_told_in_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.version_info = (3, 9, 2); sys.path.insert(0, {!r}); import bootstrap as it; "
    code += "sys.exit(it.main(['run']))"
    done = subprocess.run(
        [sys.executable, "-c", code.format(str(ROOT))],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "dailies: Python 3.11 or newer is needed, this one is 3.9: install python3.11 and python3.11-venv\n"
    )


def test_a_newer_python_beside_an_old_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/{name}" if name == "python3.12" else None)
    monkeypatch.setattr(os, "execv", lambda path, arguments: started.append([path, *arguments]))
    with pytest.raises(bootstrap.Stop):  # only because nothing was really started
        bootstrap.use_newer_python()
    assert started[0][:2] == ["/opt/python3.12", "/opt/python3.12"]


def test_an_environment_left_halfway_is_made_anew(project: Path, commands: list[str]) -> None:
    environment = project / ".venv"
    (environment / "bin").mkdir(parents=True)
    bootstrap.PYTHON.symlink_to(project / "gone")
    bootstrap.make_environment()
    assert commands == [f"{sys.executable} -m venv {environment}"]
    assert not environment.exists()


def test_an_environment_in_which_pip_was_killed_is_made_anew(
    project: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".venv" / "bin").mkdir(parents=True)
    bootstrap.PYTHON.touch()
    monkeypatch.setattr(bootstrap, "works", lambda command: True)
    bootstrap.make_environment()
    assert commands == []
    bootstrap.UNFINISHED.touch()
    bootstrap.make_environment()
    assert len(commands) == 1


def test_packages_are_installed_once_for_each_lock(project: Path, commands: list[str]) -> None:
    (project / ".venv").mkdir()
    for kind in ("local", "dev"):
        (project / f"requirements-{kind}.lock").write_text(kind)

    bootstrap.install_python_packages(dev=False)
    bootstrap.install_python_packages(dev=False)
    assert [command.rpartition("/")[2] for command in commands] == ["requirements-local.lock"]
    assert "--require-hashes" in commands[0]

    bootstrap.install_python_packages(dev=True)
    bootstrap.install_python_packages(dev=False)  # the tests' packages include those of a run
    assert [command.rpartition("/")[2] for command in commands[1:]] == ["requirements-dev.lock"]

    (project / "requirements-dev.lock").write_text("newer")
    bootstrap.install_python_packages(dev=True)
    assert len(commands) == 3
    assert not bootstrap.UNFINISHED.exists()


def front_end(project: Path) -> None:
    """The files that the front end is built from."""
    (project / "static" / "src").mkdir(parents=True)
    (project / "static" / "src" / "app.js").write_text("1")
    (project / "templates").mkdir()
    (project / "package.json").write_text("{}")
    (project / "package-lock.json").write_text("{}")
    (project / "node_modules").mkdir()
    (project / "static" / "dist").mkdir()
    (project / "static" / "dist" / "manifest.json").write_text("{}")


def test_the_front_end_is_built_when_its_source_changed(
    project: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    front_end(project)
    monkeypatch.setattr(bootstrap, "find_npm", lambda: (["npm"], {}))
    bootstrap.build_front_end()
    assert commands == ["npm ci --ignore-scripts --no-audit --no-fund", "npm run build"]

    bootstrap.build_front_end()
    (project / "static" / "dist" / "app.css").write_text("made")
    bootstrap.build_front_end()
    assert len(commands) == 2

    (project / "templates" / "base.html").write_text("<html>")
    bootstrap.build_front_end()
    assert commands[2:] == ["npm run build"]

    (project / "package-lock.json").write_text("{ }")
    bootstrap.build_front_end()
    assert commands[3:] == ["npm ci --ignore-scripts --no-audit --no-fund", "npm run build"]


def test_node_comes_from_a_wheel_where_there_is_none_or_an_old_one(
    project: Path, commands: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".venv").mkdir()
    (project / "requirements-node.lock").write_text("node")
    lack(monkeypatch)
    monkeypatch.setattr(bootstrap, "node_version", lambda node: 18)
    npm, environment = bootstrap.find_npm()
    assert npm == [str(bootstrap.PYTHON), str(project / ".venv" / "bin" / "npm")]
    assert environment["PATH"].startswith(str(project / ".venv" / "bin") + os.pathsep)
    assert len(commands) == 1
    bootstrap.find_npm()
    assert len(commands) == 1
    assert json.loads(bootstrap.STAMP.read_text()).keys() == {"requirements-node.lock"}


@pytest.fixture
def coach_locks(project: Path) -> Path:
    """A project whose coach is not installed yet."""
    (project / ".venv").mkdir()
    for name in (bootstrap.COACH_LOCK, bootstrap.MODEL_LOCK):
        (project / name).write_text(name)
    return project


def test_the_coach_is_installed_once_and_its_model_made_of_a_wheel_that_is_not(
    coach_locks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[list[str]] = []

    def run(command: list[str], env: dict[str, str] | None = None) -> None:
        said.append(command)
        if "download" in command:
            (Path(command[command.index("-d") + 1]) / "mediapipe.whl").touch()
        if "backend.coaching.model" in command:
            Path(command[-1]).parent.mkdir(parents=True)
            Path(command[-1]).touch()

    monkeypatch.setattr(bootstrap, "run_quietly", run)
    bootstrap.install_coach(required=True)
    assert [command[3] for command in said[:2]] == ["install", "download"]
    assert all("--require-hashes" in command for command in said[:2])
    assert not Path(said[2][-2]).exists()
    bootstrap.install_coach(required=True)
    assert len(said) == 3
    bootstrap.POSE_MODEL.unlink()
    bootstrap.POSE_MODEL.parent.rmdir()
    bootstrap.install_coach(required=True)
    assert len(said) == 5


def test_the_platform_runs_without_the_coach_where_it_cannot_be_installed_and_says_so(
    coach_locks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: list[str], env: dict[str, str] | None = None) -> None:
        raise bootstrap.Stop("no such package here")

    monkeypatch.setattr(bootstrap, "run_quietly", fail)
    bootstrap.install_coach(required=False)
    assert "pose analysis is not available here: no such package here" in capsys.readouterr().out
    assert not bootstrap.UNFINISHED.exists()
    with pytest.raises(bootstrap.Stop):
        bootstrap.install_coach(required=True)
    monkeypatch.setenv("COACH", "off")
    bootstrap.install_coach(required=False)
    assert capsys.readouterr().out == ""


def test_a_failing_command_shows_its_output_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(bootstrap.Stop, match="failed, see above"):
        bootstrap.run_quietly([sys.executable, "-c", "print('why it failed'); raise SystemExit(3)"])
    assert "why it failed" in capsys.readouterr().err


@pytest.fixture
def suite(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose tests can be run with this Python: they append to `ran`, which they find beside them."""
    monkeypatch.setattr(bootstrap, "PYTHON", sys.executable)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    tests = project / "tests"
    tests.mkdir()
    (tests / "__init__.py").touch()
    shutil.copy(ROOT / "tests" / "spread.py", tests)
    (project / "pyproject.toml").write_text('[tool.pytest.ini_options]\ntestpaths = ["tests"]\n')
    (tests / "test_good.py").write_text("def test_good():\n    open('ran', 'a').write('good ')\n")
    return tests


UNSTEADY = """
def test_unsteady():
    with open('ran', 'a+') as ran:
        ran.seek(0)
        before = ran.read()
        ran.write('unsteady ')
    assert 'unsteady' in before
"""


def test_what_failed_by_accident_is_run_once_more_and_named(suite: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (suite / "test_unsteady.py").write_text(UNSTEADY)
    bootstrap.run_tests([])
    assert sorted((suite.parent / "ran").read_text().split()) == ["good", "unsteady", "unsteady"]
    assert "UNSTEADY" in capfd.readouterr().out.splitlines()[-2]
    (suite.parent / "ran").unlink()
    (suite / "test_unsteady.py").unlink()
    bootstrap.run_tests([])
    assert "UNSTEADY" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("tests", "again"),
    [
        pytest.param("def test_bad():\n    assert False, open('ran', 'a').write('bad ')\n", 1, id="failed each time"),
        pytest.param(
            "import pytest\n\n@pytest.mark.parametrize('n', range(4))\n"
            "def test_bad(n):\n    assert False, open('ran', 'a').write('bad ')\n",
            0,
            id="failed more than a few",
        ),
        pytest.param("import nowhere\n", 0, id="could not be read"),
    ],
)
def test_what_failed_for_a_reason_fails_the_run(suite: Path, tests: str, again: int) -> None:
    (suite / "test_bad.py").write_text(tests)
    with pytest.raises(bootstrap.Stop, match="tests failed"):
        bootstrap.run_tests([])
    ran = (suite.parent / "ran").read_text().split() if (suite.parent / "ran").exists() else []
    first = 4 if "range(4)" in tests else 0 if "import nowhere" in tests else 1
    assert ran.count("bad") == first + again


def test_make_alone_prints_its_targets_and_each_of_them_exists() -> None:
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "check", "types", "migrate", "migration", "shell", "screenshots", "lock"):
        assert f"make {target}" in listed
        dry = subprocess.run(["make", "-n", "-C", str(ROOT), target, "m=x"], capture_output=True, check=False)
        assert dry.returncode == 0
