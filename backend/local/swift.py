"""S3 from OpenStack Swift: its configuration, its process, and a probe that really speaks S3 to it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from backend.local.processes import ROOT, Child, Guard, LocalError, child_environment

ACCOUNT = "dailies"
ACCESS_KEY = f"{ACCOUNT}:app"
REGION = "us-east-1"
BUCKET = "dailies"
RESERVED_BYTES = 64 * 1024 * 1024  # a disk with less than this left takes no more objects
#: Of what is sent and read at once. Swift's own 64 KiB cost a fifth more CPU; what is left is mostly the MD5 of S3.
CHUNK_BYTES = 1024 * 1024
MOST_PROCESSES = 4

# Paths are relative to the folder, which is where the process works: no character of its name needs escaping.
COMMON = """[DEFAULT]
swift_dir = .
devices = .
mount_check = false
log_level = WARNING
log_address = /nonexistent
log_custom_handlers = backend.local.swift_parts.log_to_stderr
log_requests = false
fallocate_reserve = {reserved}
"""

INNER = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""

# An object is acknowledged when its listing shows it (or refused to be told): what counts parts reads the listing.
OBJECT = """node_timeout = 30
container_update_timeout = 30
network_chunk_size = {chunk}
disk_chunk_size = {chunk}
"""

PROXY = """
[pipeline:main]
pipeline = nosniff origins catch_errors gatekeeper cache s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
# There is one device: taking it out of service for a minute after an error (a full disk) would take everything down.
error_suppression_interval = 0
node_timeout = 60
object_chunk_size = {chunk}
client_chunk_size = {chunk}
cors_allow_origin = {origins}
cors_expose_headers = ETag
[filter:nosniff]
paste.filter_factory = backend.local.swift_parts:nosniff_factory
[filter:origins]
paste.filter_factory = backend.local.swift_parts:origins_factory
origins = {origins}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
paste.filter_factory = backend.local.swift_parts:cache_factory
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = {region}
allow_multipart_uploads = true
max_upload_part_num = 10000
cors_preflight_allow_origin = {origins}
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
# Else deleting a multipart object leaves its bytes to a daemon that we do not run.
allow_async_delete = false
max_manifest_segments = 10000
[filter:dlo]
use = egg:swift#dlo
"""


class Swift:
    """Swift's servers (`swift_server.py`), their files in `folder`, one bucket."""

    name = "s3"

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        guard: Guard,
        log: Path,
        secret: str,
        hash_prefix: str,
        hash_suffix: str,
        cors_origins: Sequence[str],
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.child: Child | None = None
        self.host = host
        self.port = port
        self._guard = guard
        self._log = log
        self._secret = secret
        self._hash = (hash_prefix, hash_suffix)
        # Swift refuses a list in which `*` is not alone.
        self._origins = ["*"] if "*" in cors_origins else list(cors_origins)

    def launch(self) -> None:
        """Write the configuration and start; `is_ready` tells when the bucket is there."""
        (self.folder / "device").mkdir(mode=0o700, parents=True, exist_ok=True)
        require_extended_attributes(self.folder)
        self._write_configuration()
        self.child = Child(
            self.name,
            [sys.executable, "-m", "backend.local.swift_server", str(self.folder)],
            guard=self._guard,
            log=self._log,
            env=child_environment(PYTHONPATH=str(ROOT)),
            cwd=self.folder,
        )

    def is_ready(self) -> bool:
        """Whether our bucket can be made and listed with our keys. Raises LocalError when the process has ended."""
        assert self.child is not None
        if self.child.poll() is not None:
            raise LocalError(f"s3 ended at once: {self.child.last_words()}")
        try:
            made = self._request("PUT", f"/{BUCKET}")
            listed = self._request("GET", "/")
        except (OSError, http.client.HTTPException):
            return False
        return made[0] in (200, 409) and listed[0] == 200 and f"<Name>{BUCKET}</Name>".encode() in listed[1]

    def stop(self) -> None:
        """A half-written object has no name yet, so an ordinary end loses nothing that was acknowledged."""
        if self.child is not None:
            self.child.stop(signal.SIGTERM, seconds=5)
            self.child = None

    def _write_configuration(self) -> None:
        common = COMMON.format(reserved=RESERVED_BYTES)
        proxy = PROXY.format(
            origins=", ".join(self._origins),
            chunk=CHUNK_BYTES,
            region=REGION,
            user=ACCESS_KEY.replace(":", "_"),
            secret=self._secret,
        )
        files = {f"{name}-server.conf": common + INNER.format(name=name) for name in ("account", "container", "object")}
        files["object-server.conf"] += OBJECT.format(chunk=CHUNK_BYTES)
        files["proxy-server.conf"] = common + proxy
        files["swift.conf"] = (
            "[swift-hash]\nswift_hash_path_prefix = {}\nswift_hash_path_suffix = {}\n"
            "[storage-policy:0]\nname = one\ndefault = yes\n"
        ).format(*self._hash)
        files["listen.json"] = json.dumps({"address": (self.host, self.port), "processes": processes()})
        for name, text in files.items():
            path = self.folder / name
            path.touch(mode=0o600)
            path.write_text(text)

    def _request(self, method: str, path: str) -> tuple[int, bytes]:
        """One signed request without a body: status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            host = f"127.0.0.1:{self.port}"
            connection.request(method, path, headers=sign(method, path, host=host, secret=self._secret))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def processes() -> int:
    """How many the storage gets: Python uses one core in each, and the parts of an upload come several at a time."""
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES)


def sign(method: str, path: str, *, host: str, secret: str, at: datetime | None = None) -> dict[str, str]:
    """Headers of AWS Signature Version 4 for a request without body and query, so that no SDK is loaded to start."""
    moment = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    day = moment[:8]
    scope = f"{day}/{REGION}/s3/aws4_request"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{empty}"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}"
    return headers | {"authorization": f"{credential}, SignedHeaders={names}, Signature={signature}"}


def require_extended_attributes(folder: Path) -> None:
    """Swift keeps an object's metadata in them; some file systems have none."""
    try:
        os.setxattr(folder, "user.dailies", b"1")
    except OSError as error:
        raise LocalError(
            f"the file system of {folder} takes no extended attributes ({error.strerror}): set DATA_DIR to another"
        ) from None
