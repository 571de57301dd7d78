"""`dailies doctor` as an operator types it."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from backend.local.stack import Stack
from tests.conftest import ROOT, Live, environment


def doctor(stack: Stack, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", "doctor", *arguments],
        cwd=ROOT,
        env={**environment(stack), **changes},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def states(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_a_whole_installation_is_well(stack: Stack, live: Live, clean: None) -> None:
    done = doctor(stack, "--json", PUBLIC_URL=live.url)
    ill = [finding for finding in states(done).values() if finding["state"] in ("failed", "skipped")]
    assert (ill, done.returncode, done.stderr) == ([], 0, "")


def test_each_check_is_a_line_and_what_fails_is_followed_by_its_fix(stack: Stack, clean: None) -> None:
    done = doctor(stack, PUBLIC_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Tried with the settings of this command, on this machine."
    assert lines[1].startswith("ok        Database: The database answers. PostgreSQL ")
    at = next(
        number for number, line in enumerate(lines) if line.startswith("failed    Pages: The address leads here.")
    )
    assert lines[at + 1].strip().startswith("fix: Start the web process")
    assert lines[-1].endswith(" with a warning")


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"DATABASE_URL": "postgresql+asyncpg://dailies:x@127.0.0.1:9/dailies"}, "database.answers"),
        ({"REDIS_URL": "redis://127.0.0.1:9/0"}, "redis.answers"),
        ({"S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "storage.answers"),
        ({"S3_PUBLIC_URL": "http://minio:9000", "PUBLIC_URL": "http://video.invalid"}, "cors.public_address"),
        ({"PATH": "/nowhere"}, "work.tools"),
    ],
)
def test_a_part_that_is_away_is_one_failure_among_findings(
    changes: dict[str, str], failed: str, stack: Stack, clean: None
) -> None:
    done = doctor(stack, "--json", **changes)
    found = states(done)
    assert (done.returncode, found[failed]["state"], bool(found[failed]["fix"])) == (1, "failed", True)
    assert len(found) > 35


def test_a_database_nobody_migrated(stack: Stack, clean: None) -> None:
    url = environment(stack)["DATABASE_URL"].rsplit("/", 1)[0] + "/postgres"
    found = states(doctor(stack, "--json", DATABASE_URL=url))
    assert (found["database.answers"]["state"], found["database.migrations"]["state"]) == ("ok", "failed")
    assert "dailies migrate" in found["database.migrations"]["fix"]
    assert found["work.alive"]["state"] == "skipped"


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "S3_ENDPOINT_URL"])
def test_an_address_that_cannot_be_one_is_told_in_two_lines(name: str, stack: Stack) -> None:
    done = doctor(stack, **{name: "nonsense"})
    assert (done.returncode, done.stderr) == (1, "")
    assert name in done.stdout
    assert len(done.stdout.splitlines()) == 2


def test_a_server_that_was_started_otherwise_is_pointed_out_on_top_and_nothing_secret_is_told(
    stack: Stack, live: Live, clean: None
) -> None:
    secret = "only-this-command-knows-it"
    done = doctor(stack, PUBLIC_URL=live.url, MAX_UPLOAD_SIZE_MB="1", METRICS_TOKEN=secret)
    lines = done.stdout.splitlines()
    assert "other values of MAX_UPLOAD_SIZE_MB, METRICS_TOKEN" in lines[1]
    assert lines[1].startswith(f"But: The server at {live.url}")
    assert secret not in done.stdout
    told = httpx.get(f"{live.url}/api/admin/doctor/settings")
    assert told.status_code == 403, "digests are for who has the SECRET_KEY"
