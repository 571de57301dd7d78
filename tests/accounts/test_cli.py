"""The operator's command, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def dailies(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from backend.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), input=said, capture_output=True, text=True, timeout=60
    )


def create_admin(email: str, password: str) -> subprocess.CompletedProcess[str]:
    return dailies("create-admin", email, said=f"{password}\n")


async def test_create_admin_makes_an_account_that_can_sign_in(client: httpx.AsyncClient) -> None:
    made = create_admin("root@example.org", "correct horse battery")
    assert made.returncode == 0, made.stderr
    body = {"email": "root@example.org", "password": "correct horse battery"}
    answer = await client.post("/api/auth/login", json=body)
    assert answer.json()["user"]["roles"] == ["admin", "coach_pro_plus"]


async def test_create_admin_says_what_is_wrong_in_one_line(client: httpx.AsyncClient) -> None:
    for email, password, words in (("root", "correct horse battery", "@-sign"), ("a@b.org", "short", "at least 8")):
        refused = create_admin(email, password)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


async def test_set_roles_gives_roles_to_an_account_and_keeps_the_last_admin(client: httpx.AsyncClient) -> None:
    create_admin("root@example.org", "correct horse battery")
    create_admin("ada@example.org", "correct horse battery")
    given = dailies("set-roles", "ADA@example.org", "auditor")
    assert (given.returncode, given.stdout) == (0, "ada@example.org: auditor\n"), given.stderr
    for arguments, words in (
        (("root@example.org",), "the only admin"),
        (("ada@example.org", "king"), "no role king"),
        (("eve@example.org", "auditor"), "no account eve@example.org"),
    ):
        refused = dailies("set-roles", *arguments)
        assert (refused.returncode, words in refused.stderr) == (1, True), refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
