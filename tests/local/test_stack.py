"""The embedded servers themselves: data that survives, parts that are killed, and what is said when it cannot work."""

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import pytest
from botocore.config import Config
from redis import Redis

from backend.local.parts import Part
from backend.local.ports import Ports, is_free
from backend.local.processes import ROOT, LocalError, child_environment
from backend.local.secrets import Secrets
from backend.local.stack import Stack, environment_of
from backend.local.supervisor import Supervisor

ORIGIN = "http://127.0.0.1:8123"


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that these tests may kill; its name has what has to be quoted in configurations."""
    servers = Stack(tmp_path_factory.mktemp("own stack 100%"), cors_origins=[ORIGIN])
    servers.start()
    yield servers
    servers.stop()


def ask(stack: Stack, sql: str, *, superuser: bool = False) -> Any:
    """One value from the database."""

    async def run() -> Any:
        url = stack.superuser_url if superuser else stack.env()["DATABASE_URL"].replace("+asyncpg", "")
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        return runner.run(run())


def s3_of(stack: Stack) -> Any:
    """A client for the stack's storage."""
    env = stack.env()
    return boto3.client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        region_name=env["S3_REGION"],
        aws_access_key_id=env["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=env["S3_SECRET_ACCESS_KEY"],
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
        ),
    )


def part_of(stack: Stack, name: str) -> Part:
    """One part by its name."""
    return next(part for part in stack.parts if part.name == name)


def kill_and_wait_until_back(stack: Stack, name: str) -> None:
    """SIGKILL a server, let a supervisor notice, and wait until it works again."""
    part = part_of(stack, name)
    said: list[str] = []
    supervisor = Supervisor(stack.parts, say=said.append)
    assert part.child is not None
    os.kill(part.child.pid, signal.SIGKILL)
    until = time.monotonic() + 60
    while not any(line.startswith(f"{name} is back") for line in said):
        assert time.monotonic() < until, said
        supervisor.tick()
        time.sleep(0.05)
    assert said[0].startswith(f"{name} ended (signal 9)")


def test_postgres_keeps_what_it_acknowledged_when_it_is_killed(own_stack: Stack) -> None:
    ask(own_stack, "CREATE TABLE kept AS SELECT 41 + 1 AS answer")
    kill_and_wait_until_back(own_stack, "postgres")
    assert ask(own_stack, "SELECT answer FROM kept") == 42


def test_the_application_is_not_the_database_superuser(own_stack: Stack) -> None:
    assert ask(own_stack, "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user") is False
    assert ask(own_stack, "SELECT current_user", superuser=True) == "postgres"


def test_postgres_writes_utf8_and_sorts_by_code_point(own_stack: Stack) -> None:
    assert ask(own_stack, "SHOW server_encoding") == "UTF8"
    assert ask(own_stack, "SELECT lower('ÄÖ')") == "äö"
    assert ask(own_stack, "SHOW timezone") == "UTC"


def test_valkey_keeps_its_keys_when_it_is_killed(own_stack: Stack) -> None:
    with Redis.from_url(own_stack.env()["REDIS_URL"]) as redis:
        redis.set("kept", "yes")
        time.sleep(1.2)  # appendfsync everysec
        kill_and_wait_until_back(own_stack, "valkey")
        assert redis.get("kept") == b"yes"


def test_s3_keeps_objects_and_unfinished_uploads_when_it_is_killed(own_stack: Stack) -> None:
    s3 = s3_of(own_stack)
    s3.put_object(Bucket="dailies", Key="kept/one.txt", Body=b"still here")
    upload = s3.create_multipart_upload(Bucket="dailies", Key="kept/two.bin")["UploadId"]
    part = {"Bucket": "dailies", "Key": "kept/two.bin", "UploadId": upload}
    first = s3.upload_part(**part, PartNumber=1, Body=b"a" * 5 * 2**20)["ETag"]
    kill_and_wait_until_back(own_stack, "s3")
    second = s3.upload_part(**part, PartNumber=2, Body=b"b")["ETag"]
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="dailies", Key="kept/one.txt")["Body"].read() == b"still here"
    assert s3.head_object(Bucket="dailies", Key="kept/two.bin")["ContentLength"] == 5 * 2**20 + 1


def test_deleting_a_multipart_object_frees_its_bytes(own_stack: Stack) -> None:
    s3 = s3_of(own_stack)
    part = {"Bucket": "dailies", "Key": "large.bin"}
    part["UploadId"] = s3.create_multipart_upload(**part)["UploadId"]
    sent = [s3.upload_part(**part, PartNumber=number, Body=b"x" * 5 * 2**20)["ETag"] for number in (1, 2)]
    s3.complete_multipart_upload(
        **part,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(sent, start=1)]},
    )
    before = stored_bytes(own_stack)
    s3.delete_object(Bucket="dailies", Key="large.bin")
    assert before - stored_bytes(own_stack) >= 10 * 2**20


def stored_bytes(stack: Stack) -> int:
    """What the objects of the storage take on the disk."""
    return sum(path.stat().st_size for path in stack.data_dir.rglob("s3/device/objects/**/*.data"))


def test_a_signed_put_binds_type_and_size_and_expires(own_stack: Stack) -> None:
    parameters = {"Bucket": "dailies", "Key": "signed.mp4", "ContentType": "video/mp4", "ContentLength": 5}
    sign = s3_of(own_stack).generate_presigned_url
    url = sign("put_object", Params=parameters, ExpiresIn=60)
    assert put(url, b"12345", "video/mp4") == 200
    assert put(url, b"123456", "video/mp4") == 403
    assert put(url, b"12345", "text/html") == 403
    assert put(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"), b"12345", "video/mp4") == 403
    short = sign("put_object", Params=parameters, ExpiresIn=1)
    time.sleep(2.1)
    assert put(short, b"12345", "video/mp4") == 403


def put(url: str, body: bytes, content_type: str) -> int:
    """The status of a PUT."""
    request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("origin", [ORIGIN, "http://elsewhere.example"])
def test_only_our_pages_may_upload_across_origins(own_stack: Stack, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    parameters = {"Bucket": "dailies", "Key": "x.mp4", "ContentType": "video/mp4"}
    url = s3_of(own_stack).generate_presigned_url("put_object", Params=parameters, ExpiresIn=60)
    request = urllib.request.Request(url, method="OPTIONS", headers=asked)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            allowed = answer.headers["Access-Control-Allow-Origin"]
    except urllib.error.HTTPError as error:
        allowed = error.headers["Access-Control-Allow-Origin"]
    assert allowed == (ORIGIN if origin == ORIGIN else None)


@pytest.mark.parametrize("origin", [ORIGIN, "http://elsewhere.example"])
def test_only_our_pages_may_read_why_the_storage_refuses(own_stack: Stack, origin: str) -> None:
    parameters = {"Bucket": "dailies", "Key": "x.mp4", "ContentType": "video/mp4"}
    url = s3_of(own_stack).generate_presigned_url("put_object", Params=parameters, ExpiresIn=60)
    past = re.sub(r"X-Amz-Date=\d{8}", "X-Amz-Date=20200101", url)
    for address in (past, url):
        request = urllib.request.Request(address, data=b"x", method="PUT", headers={"Origin": origin})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403
        allowed = refused.value.headers.get_all("Access-Control-Allow-Origin")
        assert allowed == ([ORIGIN] if origin == ORIGIN else None)


def test_every_server_listens_on_loopback_only(own_stack: Stack) -> None:
    numbers = {part.child.pid for part in own_stack.parts if part.child}
    inodes = {
        os.readlink(link).removeprefix("socket:[").removesuffix("]")
        for pid in numbers
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.exists() or link.is_symlink()
    }
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].split(":")[0])
    assert len(listening) == 3
    assert set(listening) == {"0100007F"}


def test_what_is_secret_is_readable_by_its_owner_only(own_stack: Stack) -> None:
    assert stat.S_IMODE(own_stack.data_dir.stat().st_mode) == 0o700
    secrets = [value for name, value in vars(own_stack.secrets).items() if name != "swift_hash_prefix"]
    holding = [
        path
        for path in own_stack.data_dir.rglob("*")
        if path.is_file() and "device" not in path.parts and path.stat().st_size < 100_000
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]
    assert {path.name for path in holding} >= {"secrets.json", "valkey.conf", "proxy-server.conf"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in holding} == {"0o600"}
    for part in own_stack.parts:
        assert part.child is not None
        arguments = Path(f"/proc/{part.child.pid}/cmdline").read_text()
        assert not any(secret in arguments for secret in secrets)


def test_a_second_start_finds_the_same_data_and_keys(tmp_path: Path) -> None:
    ports = Ports.free()
    first = Stack(tmp_path / "data", ports=ports, durable=False)
    first.start()
    env = first.env()
    ask(first, "CREATE TABLE here AS SELECT 1 AS one")
    s3_of(first).put_object(Bucket="dailies", Key="here", Body=b"1")
    first.stop()
    first.stop()

    second = Stack(tmp_path / "data", ports=ports, durable=False)
    second.start()
    try:
        assert second.env() == env
        assert ask(second, "SELECT one FROM here") == 1
        assert s3_of(second).head_object(Bucket="dailies", Key="here")["ContentLength"] == 1
    finally:
        second.stop()
    assert is_free("127.0.0.1", ports.s3)


def test_an_interrupted_first_start_is_repeated(tmp_path: Path) -> None:
    """Killed in the middle of making the cluster: what is half there is not taken for whole."""
    half = tmp_path / "data" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    servers = Stack(tmp_path / "data", durable=False)
    servers.start()
    try:
        assert ask(servers, "SELECT 1") == 1
    finally:
        servers.stop()


def test_a_server_on_our_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        ports = Ports.free()
        taken = Ports(**{**vars(ports), "valkey": stranger.getsockname()[1]})
        servers = Stack(tmp_path / "data", ports=taken, durable=False)
        with pytest.raises(LocalError, match="valkey ended at once"):
            servers.start()
    assert servers.parts == []
    assert is_free("127.0.0.1", ports.postgres)


def test_ports_are_kept_and_a_taken_one_is_replaced(tmp_path: Path) -> None:
    first, moved = Ports.kept(tmp_path)
    assert moved == []
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", first.s3))
        stranger.listen()
        second, moved = Ports.kept(tmp_path)
    assert moved == ["s3"]
    assert second.s3 != first.s3
    assert second.postgres == first.postgres
    assert Ports.kept(tmp_path) == (second, [])


def test_secrets_are_kept_and_those_that_lack_are_made(tmp_path: Path) -> None:
    first = Secrets.load(tmp_path)
    assert Secrets.load(tmp_path) == first
    assert len(set(vars(first).values())) == 7
    assert all(len(value) == 64 for value in vars(first).values())
    assert first.secret_key not in repr(first)
    path = tmp_path / "secrets.json"
    path.write_text(path.read_text().replace("valkey_password", "forgotten"))
    again = Secrets.load(tmp_path)
    assert again.secret_key == first.secret_key
    assert again.valkey_password != first.valkey_password


def test_the_settings_of_a_stack_that_runs_elsewhere_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="nothing ever ran"):
        environment_of(tmp_path)
    ports, _ = Ports.kept(tmp_path)
    servers = Stack(tmp_path, ports=ports)
    assert environment_of(tmp_path) == servers.env()


def test_nothing_outlives_a_killed_owner(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from backend.local.stack import Stack
stack = Stack(Path(sys.argv[1]), durable=False)
stack.start()
print("up", flush=True)
time.sleep(987)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=child_environment(PYTHONPATH=str(ROOT)),
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    assert len(processes_of(tmp_path)) >= 4
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until = time.monotonic() + 60
    while left := processes_of(tmp_path):
        assert time.monotonic() < until, f"still running: {left}"
        time.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """Every process that names the folder in its arguments or works below it; Postgres' own children do the latter."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            below = Path(os.readlink(entry / "cwd")).is_relative_to(folder)
        except OSError:
            continue  # it ended while we looked, or is not ours
        if below or str(folder) in arguments:
            found.append(f"{entry.name} {arguments}")
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to stop being root")
@pytest.mark.parametrize("closed", [False, True], ids=["below our own folder", "below another's closed home"])
def test_root_starts_postgres_too(tmp_path: Path, closed: bool) -> None:
    """Postgres refuses root; and what stands in for root may not be able to enter the home of who called sudo."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    if closed:
        os.chown(home, 12345, 12345)
    servers = Stack(home / "data", durable=False)
    servers.start()
    try:
        assert ask(servers, "SELECT 1") == 1
        child = part_of(servers, "postgres").child
        assert child is not None
        uid = Path(f"/proc/{child.pid}/status").read_text().partition("Uid:")[2].split()[0]
        assert uid == ("65534" if closed else "0")  # as seen from outside its namespace
    finally:
        servers.stop()
