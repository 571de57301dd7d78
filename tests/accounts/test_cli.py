"""The operator's command, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def create_admin(email: str, password: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        "import sys; from backend.cli import main; sys.exit(main())",
        "create-admin",
        email,
    ]
    return subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), input=f"{password}\n", capture_output=True, text=True, timeout=60
    )


async def test_create_admin_makes_an_account_that_can_sign_in(client: httpx.AsyncClient) -> None:
    made = create_admin("root@example.org", "correct horse battery")
    assert made.returncode == 0, made.stderr
    body = {"email": "root@example.org", "password": "correct horse battery"}
    answer = await client.post("/api/auth/login", json=body)
    assert answer.json()["user"]["roles"] == ["admin"]


async def test_create_admin_says_what_is_wrong_in_one_line(client: httpx.AsyncClient) -> None:
    for email, password, words in (("root", "correct horse battery", "@-sign"), ("a@b.org", "short", "at least 8")):
        refused = create_admin(email, password)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
