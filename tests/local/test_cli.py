"""The commands of `dailies` as an operator types them, against the stack of the tests."""

import subprocess
import sys
from pathlib import Path

import httpx

from backend.local.processes import ROOT
from backend.local.stack import Stack
from tests.conftest import MakeUser, environment


def dailies(stack: Stack, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """One command, with something typed into it."""
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", *arguments],
        cwd=ROOT,
        env=environment(stack),
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_create_admin_makes_an_administrator_who_can_sign_in(
    stack: Stack, make_user: MakeUser, client: httpx.AsyncClient
) -> None:
    await make_user()  # the first account would be one anyway
    password = "a long enough phrase"
    made = dailies(stack, "create-admin", "boss@example.org", typed=password + "\n")
    assert (made.returncode, made.stdout) == (0, "boss@example.org is an administrator now\n"), made.stderr
    answer = await client.post("/api/auth/login", json={"email": "boss@example.org", "password": password})
    assert answer.status_code == 200, answer.text
    assert answer.json()["user"]["roles"] == ["admin", "coach_pro_plus"]


async def test_create_admin_refuses_a_short_password_in_one_line(stack: Stack, client: httpx.AsyncClient) -> None:
    refused = dailies(stack, "create-admin", "boss@example.org", typed="short\n")
    assert refused.returncode == 1
    assert refused.stderr.startswith("dailies: ")
    assert "Traceback" not in refused.stderr


def test_migrate_twice_changes_nothing(stack: Stack) -> None:
    assert dailies(stack, "migrate").returncode == 0


SHELL = """async def one():
    async with transaction() as session:
        return (await session.connection()).dialect.name

print(settings.s3_bucket, run(one()))
"""


def test_shell_has_settings_and_an_open_database(stack: Stack) -> None:
    done = dailies(stack, "shell", typed=SHELL)
    assert "dailies postgresql" in done.stdout


def test_a_setting_that_cannot_work_is_one_line(stack: Stack) -> None:
    for command in ("web", "worker"):
        done = subprocess.run(
            [sys.executable, "-m", "backend.cli", command],
            cwd=ROOT,
            env=environment(stack) | {"SECRET_KEY": "short"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("dailies: SECRET_KEY must hold at least 32 bytes")
        assert done.stderr.count("\n") == 1


def test_without_settings_and_without_a_stack_the_line_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend.cli", "migrate"],
        cwd=ROOT,
        env={"DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"dailies: nothing ever ran on {tmp_path}: start `make run` first")
