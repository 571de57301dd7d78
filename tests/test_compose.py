"""The deployment files, as far as they can be checked without an engine: none runs here."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import SecretStr

from backend.config import Settings

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {name.upper(): field for name, field in Settings.model_fields.items()}
# What the container's start reads and the application does not.
OF_THE_PROCESS = {"HOST", "PORT"}
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?:(:[-?])([^}]*))?\}")


def compose() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(document, dict)
    return document


def documented() -> dict[str, str]:
    """NAME → value of `.env.example`, set or shown as a default."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found = [re.fullmatch(r"(?:# )?([A-Z][A-Z0-9_]*)=(.*)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def settings_of(values: dict[str, str]) -> Settings:
    given: dict[str, Any] = {name.lower(): value for name, value in values.items()}
    return Settings(_env_file=None, **given)


def services() -> list[tuple[str, dict[str, Any]]]:
    return list(compose()["services"].items())


# --- docker-compose.yml -------------------------------------------------------------------------------------------


def test_compose_keeps_the_schema_of_the_compose_specification() -> None:
    schema = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(compose())


def test_the_schema_would_notice_a_mistake() -> None:
    schema = json.loads((resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    wrong = compose()
    wrong["services"]["web"]["depend_on"] = ["postgres"]
    with pytest.raises(jsonschema.ValidationError, match="depend_on"):
        jsonschema.Draft202012Validator(schema).validate(wrong)


@pytest.mark.parametrize("name", ["web", "worker", "migrate"])
def test_the_application_gets_settings_and_only_settings(name: str) -> None:
    given = set(compose()["services"][name]["environment"])
    assert given - set(SETTINGS) - OF_THE_PROCESS == set()
    assert set(SETTINGS) - given == set(), "a setting in .env would not reach the container"


def test_all_processes_of_the_application_get_the_same() -> None:
    shared = [compose()["services"][name]["environment"] for name in ("web", "worker", "migrate")]
    assert shared[0] == shared[1] == shared[2]


def test_values_compose_makes_up_are_accepted_as_settings() -> None:
    given = compose()["services"]["web"]["environment"]
    values = {name: VARIABLE.sub("0123456789abcdef" * 2, str(value)) for name, value in given.items() if value}
    values["PUBLIC_URL"] = "https://video.example.org"
    settings_of(values).check()


def test_every_variable_of_compose_is_documented_and_secrets_have_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    used = VARIABLE.findall(text)
    assert {name for name, _, _ in used} <= set(documented())
    for name, kind, words in used:
        if "PASSWORD" in name or "SECRET" in name:
            assert (kind, bool(words)) == (":?", True), f"{name} must be asked for in words"
    assert VARIABLE.sub("", text).count("${") == 0


def test_the_administrator_of_the_storage_is_unknown_to_the_application() -> None:
    knowing = {name for name, service in services() if "MINIO_ROOT_PASSWORD" in (service.get("environment") or {})}
    assert knowing == {"minio", "minio-init"}


def test_what_a_service_waits_for_can_be_waited_for() -> None:
    known = dict(services())
    for name, service in services():
        for other, wait in (service.get("depends_on") or {}).items():
            assert other in known, f"{name} waits for {other}"
            if wait["condition"] == "service_healthy":
                assert "test" in known[other]["healthcheck"]
            else:
                assert known[other]["restart"] == "no", f"{other} would never be done"


def test_services_restart_and_one_shots_do_not() -> None:
    assert {name: service["restart"] for name, service in services()} == {
        "web": "unless-stopped",
        "worker": "unless-stopped",
        "postgres": "unless-stopped",
        "valkey": "unless-stopped",
        "minio": "unless-stopped",
        "migrate": "no",
        "minio-owner": "no",
        "minio-init": "no",
    }


def test_services_have_few_rights() -> None:
    for name, service in services():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        if name != "postgres":  # its image starts as root to give its folder away, then becomes an ordinary user
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name


def test_data_is_in_named_volumes_and_postgres_mounts_where_version_18_keeps_it() -> None:
    mounts = {name: service["volumes"] for name, service in services() if service.get("volumes")}
    assert mounts["postgres"] == ["postgres-data:/var/lib/postgresql"]
    assert mounts["valkey"] == ["valkey-data:/data"]
    assert mounts["minio"] == ["minio-data:/data"]
    assert mounts["worker"] == ["scratch:/scratch"]
    assert compose()["x-settings"]["WORK_DIR"] == "/scratch"
    assert set(compose()["volumes"]) == {"postgres-data", "valkey-data", "minio-data", "scratch"}


def test_images_are_pinned_and_nothing_listens_to_the_world_unasked() -> None:
    for name, service in services():
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"].rpartition("/")[2], name
        for port in service.get("ports", []):
            assert re.match(r"\$\{\w+_BIND:-127\.0\.0\.1\}:", port), name


def test_the_grace_of_the_container_is_longer_than_that_of_the_worker() -> None:
    grace = SETTINGS["WORKER_GRACE_SECONDS"].default
    assert int(compose()["services"]["worker"]["stop_grace_period"].removesuffix("s")) > grace


# --- .env.example -------------------------------------------------------------------------------------------------


def test_every_setting_is_documented() -> None:
    assert set(SETTINGS) - set(documented()) == set()


def test_nothing_else_is_documented() -> None:
    compose_only = {name for name, _, _ in VARIABLE.findall((ROOT / "docker-compose.yml").read_text())}
    assert set(documented()) - set(SETTINGS) - compose_only == set()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_setting_is_explained_and_its_default_is_told(name: str) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if re.match(rf"(# )?{name}=", line))
    above = [line for line in lines[max(0, at - 2) : at] if line.startswith("# ")]
    assert above, f"{name} has no words above it"
    if lines[at].startswith("# "):
        default = SETTINGS[name].get_default(call_default_factory=True)
        told = documented()[name]
        real = default.get_secret_value() if isinstance(default, SecretStr) else default
        assert (getattr(settings_of({name: told}), name.lower()) == real) if told else not real


def test_the_example_holds_no_secret() -> None:
    for name, value in documented().items():
        if "PASSWORD" in name.split("_") or "SECRET" in name.split("_"):
            assert value in ("", "8"), f"{name} has a value"


# --- Dockerfile and .dockerignore ---------------------------------------------------------------------------------


def copied() -> list[str]:
    """The sources of COPY that come from the project."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_the_image_copies_exists() -> None:
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_what_the_image_copies_is_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert "*" in rules
    assert set(copied()) == let_in


def test_the_image_builds_in_stages_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert sum(line.startswith("FROM ") for line in lines) == 3
    assert not any(line.startswith("FROM ") and (":latest" in line or ":" not in line) for line in lines)
    after = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert "USER 10001:10001" in after
    assert any(line.startswith("HEALTHCHECK ") for line in after)
    assert not any(re.match(r"(ARG|ENV) .*(SECRET|PASSWORD|TOKEN)", line) for line in lines)


def test_what_the_image_holds_is_enough_to_start(tmp_path: Path) -> None:
    """Without the embedded stack, which stays out of it. (That the locked packages suffice is not seen here.)"""
    left_out = shutil.ignore_patterns("__pycache__", "local")
    for source in set(copied()):
        if source.startswith(("static", "package", ".npmrc", "requirements")):
            continue  # of the stages before the last
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=left_out)
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    environment = {**os.environ, "REDIS_URL": "redis://127.0.0.1:1/0", "SECRET_KEY": "k" * 32}
    code = "import backend.app, worker, sys; assert not any(m.startswith('backend.local') for m in sys.modules)"
    for words in (["-c", code], ["-m", "backend.cli", "--help"]):
        subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, check=True, timeout=60)


def test_the_commands_of_compose_are_commands_of_the_program() -> None:
    text = (ROOT / "backend" / "cli.py").read_text()
    for name in ("web", "worker", "migrate"):
        assert compose()["services"][name]["command"] == [name]
        assert f'"{name}"' in text


# --- minio-init ---------------------------------------------------------------------------------------------------

FAKE_MC = """#!/bin/sh
printf '%s\\n' "$*" >>"$MC_LOG"
case "$*" in
    *"admin policy create"*) while IFS= read -r line; do printf '%s\\n' "$line"; done <"$7" >"$MC_LOG.policy" ;;
    *"admin policy attach"*) [ -z "${MC_SAYS:-}" ] || { printf '%s\\n' "$MC_SAYS"; exit 1; } ;;
esac
"""


def run_init(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run init.sh where nothing but a recording `mc` is on the path."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "mc").write_text(FAKE_MC)
    (tools / "mc").chmod(0o755)
    environment = {
        "PATH": str(tools),
        "TMPDIR": str(folder),
        "MC_LOG": str(folder / "log"),
        "MINIO_URL": "http://minio:9000",
        "MINIO_ROOT_USER": "root",
        "MINIO_ROOT_PASSWORD": "root password",
        "S3_BUCKET": "films",
        "S3_ACCESS_KEY_ID": "app",
        "S3_SECRET_ACCESS_KEY": "app secret",
        **more,
    }
    shell = shutil.which("sh")
    assert shell
    words = [shell, str(ROOT / "minio-init" / "init.sh")]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_init_is_posix_shell() -> None:
    for shell in filter(None, (shutil.which(name) for name in ("sh", "dash", "bash"))):
        subprocess.run([shell, "-n", ROOT / "minio-init" / "init.sh"], check=True)
    assert os.access(ROOT / "minio-init" / "init.sh", os.X_OK)


def test_init_makes_bucket_policy_and_user_and_tries_them(tmp_path: Path) -> None:
    done = run_init(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.removeprefix("--quiet ") for line in (tmp_path / "log").read_text().splitlines()]
    assert steps == [
        "alias set root http://minio:9000 root root password",
        "mb --ignore-existing root/films",
        "anonymous set none root/films",
        f"admin policy create root dailies-app {tmp_path}/policy.json",
        "admin user add root app app secret",
        "admin policy attach root dailies-app --user app",
        "alias set app http://minio:9000 app app secret",
        "pipe app/films/init-probe",
        "stat app/films/init-probe",
        "rm app/films/init-probe",
    ]
    assert "secret" not in done.stdout


def test_init_may_run_again_but_does_not_hide_failures(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "broken").mkdir()
    again = run_init(tmp_path / "again", MC_SAYS="mc: <ERROR> The specified policy change is already in effect.")
    assert (again.returncode, again.stderr) == (0, "")
    broken = run_init(tmp_path / "broken", MC_SAYS="mc: <ERROR> connection refused")
    assert broken.returncode == 1
    assert "connection refused" in broken.stderr


def test_init_says_what_is_missing(tmp_path: Path) -> None:
    done = run_init(tmp_path, S3_BUCKET="")
    assert done.returncode != 0
    assert "S3_BUCKET" in done.stderr
    assert not (tmp_path / "log").exists()


def test_the_policy_lets_the_application_work_in_its_bucket_and_nowhere_else(tmp_path: Path) -> None:
    run_init(tmp_path)
    policy = json.loads((tmp_path / "log.policy").read_text())
    allowed = {
        resource: set(statement["Action"]) for statement in policy["Statement"] for resource in statement["Resource"]
    }
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    assert set(allowed) == {"arn:aws:s3:::films", "arn:aws:s3:::films/*"}
    assert allowed["arn:aws:s3:::films"] == {"s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"}
    assert allowed["arn:aws:s3:::films/*"] == {
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:ListMultipartUploadParts",
        "s3:AbortMultipartUpload",
    }
