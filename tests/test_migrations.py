"""The migrations make exactly the tables the models describe, and can go back."""

import subprocess
import sys

from sqlalchemy import text

from backend.core.db import transaction
from backend.local.stack import Stack
from tests.conftest import ROOT, environment


def alembic(stack: Stack, *arguments: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
    env = environment(stack)
    if database:
        env["DATABASE_URL"] = env["DATABASE_URL"].rsplit("/", 1)[0] + f"/{database}"
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_models_and_migrations_agree(stack: Stack) -> None:
    checked = alembic(stack, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_every_migration_can_be_undone_and_done_again(stack: Stack, client: object) -> None:
    for arguments in (["downgrade", "base"], ["upgrade", "head"]):
        moved = alembic(stack, *arguments)
        assert moved.returncode == 0, moved.stderr
    async with transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM video_counts")) == 0
