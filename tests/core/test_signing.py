"""Our signed addresses beside boto3's: the same query and the same signature, whatever is signed, when and where."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal, cast
from unittest import mock
from urllib.parse import SplitResult, parse_qsl, urlsplit

import boto3
import botocore.session
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import CredentialRetrievalError
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from backend.config import settings
from backend.core.errors import StorageUnavailable
from backend.core.signing import Signer
from backend.core.storage import Storage, disposition, storage
from tests.core.test_storage import put

BUCKET = "a-bucket-of-ours"
ENDPOINTS = [
    "http://127.0.0.1:9000",
    "http://s3.example.org",
    "http://s3.example.org:80",
    "https://s3.example.org:443",
    "https://S3.Example.org:8443/",
    "https://example.org/behind/a/path",
    "http://[::1]:9000",
    None,  # AWS
]
#: boto3 writes the bucket into the host where it can be one.
VIRTUAL = [each for each in ENDPOINTS if each is None or each.startswith(("http://s3", "https://s3"))]
#: What boto3 calls what is said in the query, and in the headers.
IN_QUERY = {
    "ResponseContentType": "response-content-type",
    "ResponseContentDisposition": "response-content-disposition",
    "ResponseCacheControl": "response-cache-control",
    "VersionId": "versionId",
    "UploadId": "uploadId",
    "PartNumber": "partNumber",
}
IN_HEADERS = {"ContentType": "content-type", "ContentLength": "content-length", "IfNoneMatch": "if-none-match"}
Style = Literal["path", "virtual"]
VERBS = {"get_object": "GET", "put_object": "PUT", "upload_part": "PUT"}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
keys = st.one_of(
    texts.filter(bool),
    st.text(" /~.%+&=?#;:'\"\\äé文🎬", min_size=1, max_size=20),
    st.sampled_from(["/", "//a//b/", "a/../b", "./a", "plus+and space", "100%.mp4", "é", "e\u0301", "a\nb"]),
)
plain = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
part = {"UploadId": texts.filter(bool), "PartNumber": st.integers(1, 10_000)}
more = {
    "get_object": st.fixed_dictionaries(
        {}, optional={name: texts.filter(bool) for name in list(IN_QUERY)[:3]} | {"VersionId": plain}
    ),
    "put_object": st.fixed_dictionaries(
        {},
        optional={"ContentType": plain, "ContentLength": st.integers(0, 2**40), "IfNoneMatch": st.just("*")},
    ),
    "upload_part": st.fixed_dictionaries(part, optional={"ContentLength": st.integers(0, 2**40)}),
}
calls = st.sampled_from(list(VERBS)).flatmap(lambda name: st.tuples(st.just(name), more[name]))
lent = st.tuples(plain, plain, st.none() | plain)
midnight = datetime(2027, 1, 1, tzinfo=UTC)
moments = st.one_of(
    st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
    st.integers(-2, 2).map(lambda seconds: midnight + timedelta(seconds=seconds)),
)


class Side:
    """One endpoint with both signers, which live through all examples: what they keep must not outlive its time."""

    def __init__(self, endpoint: str | None, region: str, style: Style) -> None:
        session = botocore.session.get_session()
        session.set_credentials("first", "secret")
        self.keys = cast(Any, session.get_credentials())
        self.now = midnight
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": style},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        made = boto3.Session(botocore_session=session).client("s3", region, endpoint_url=endpoint, config=config)
        self.theirs: Any = made
        url = self.theirs.meta.endpoint_url
        self.folder = f"{BUCKET}/"
        if style == "virtual":
            url, self.folder = url.replace("://", f"://{BUCKET}.", 1), ""
        self.ours = Signer(url, region, self.keys.get_frozen_credentials, lambda: self.now.timestamp())

    def both(self, verb: str, key: str, params: dict[str, Any], seconds: int) -> tuple[str, str]:
        ours = self.ours.sign(
            VERBS[verb],
            self.folder + key,
            expires_seconds=seconds,
            query={IN_QUERY[name]: str(value) for name, value in params.items() if name in IN_QUERY},
            headers={IN_HEADERS[name]: str(value) for name, value in params.items() if name in IN_HEADERS},
        )
        return ours, self.asked(verb, {"Bucket": BUCKET, "Key": key, **params}, seconds)

    def asked(self, verb: str, params: dict[str, Any], seconds: int) -> str:
        with mock.patch("botocore.auth.get_current_datetime", return_value=self.now.replace(tzinfo=None)):
            url: str = self.theirs.generate_presigned_url(verb, Params=params, ExpiresIn=seconds)
            return url


side = cache(Side)


def parts_of(url: str) -> tuple[SplitResult, list[tuple[str, str]]]:
    """Without the order of the query, which is nobody's business."""
    split = urlsplit(url)
    return split._replace(query=""), sorted(parse_qsl(split.query, keep_blank_values=True, strict_parsing=True))


@hypothesis_settings(max_examples=200)
@given(
    where=st.one_of(
        st.tuples(st.sampled_from(ENDPOINTS), st.just("path")), st.tuples(st.sampled_from(VIRTUAL), st.just("virtual"))
    ),
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto"]),
    call=calls,
    key=keys,
    lent=lent,
    at=moments,
    seconds=st.integers(1, 604_800),
)
@example(
    where=(ENDPOINTS[0], "path"),
    region="us-east-1",
    call=("get_object", {"ResponseContentDisposition": "attachment; filename=\"na_me.mp4\"; filename*=UTF-8''na%22"}),
    key="videos/a b/é.mp4",
    lent=("account:user", "secret/+=", "a/session+token=="),
    at=midnight,
    seconds=60,
)
def test_what_we_sign_is_what_boto3_signs(
    where: tuple[str | None, Style],
    region: str,
    call: tuple[str, dict[str, Any]],
    key: str,
    lent: tuple[str, str, str | None],
    at: datetime,
    seconds: int,
) -> None:
    here = side(where[0], "us-east-1" if where[0] is None and region == "auto" else region, where[1])
    here.keys.access_key, here.keys.secret_key, here.keys.token = lent
    here.now = at
    ours, theirs = here.both(call[0], key, call[1], seconds)
    assert parts_of(ours) == parts_of(theirs)


@hypothesis_settings(deadline=None)
@given(names=st.lists(keys, max_size=4), content_type=st.text(max_size=20))
def test_a_whole_list_is_signed_as_each_of_it(names: list[str], content_type: str) -> None:
    signer = side(ENDPOINTS[0], "us-east-1", "path").ours
    query = {"response-content-type": content_type}
    one_by_one = [signer.sign("GET", name, expires_seconds=60, query=query) for name in names]
    assert signer.sign_gets(names, expires_seconds=60, query=query) == one_by_one


def test_what_is_kept_for_a_second_or_a_day_ends_with_it() -> None:
    here = side(ENDPOINTS[0], "us-east-1", "path")
    seen = set()
    for seconds in (-86_400, -1, -0.5, 0, 0.999, 1, 86_399, 86_400):
        for lent in (("one", "its secret", None), ("one", "another", None), ("one", "another", "a token")):
            here.now = midnight + timedelta(seconds=seconds)
            here.keys.access_key, here.keys.secret_key, here.keys.token = lent
            ours, theirs = here.both("get_object", "a key", {}, 60)
            assert parts_of(ours) == parts_of(theirs)
            seen.add(ours)
    assert len(seen) == 3 * 6, "what falls into one second is signed alike"


# --- as the platform has it -------------------------------------------------------------------------------------------


@pytest.fixture
def two_endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A storage that browsers know by another name than we."""
    monkeypatch.setattr(settings, "s3_endpoint_url", "http://s3.internal:9000")
    monkeypatch.setattr(settings, "s3_public_url", "https://media.example.org/s3")
    monkeypatch.setattr(settings, "s3_access_key_id", "account:user")
    monkeypatch.setattr(settings, "s3_secret_access_key", type(settings.s3_secret_access_key)("its secret"))
    opened = Storage()
    opened.open()
    yield opened
    opened.close()


async def test_browsers_get_the_public_endpoint_and_our_own_readers_the_internal_one(two_endpoints: Storage) -> None:
    key, seconds = "videos/a b/é.mp4", 90
    name = 'na"me é.mp4'
    signed: dict[str, tuple[str, dict[str, Any], bool]] = {
        await two_endpoints.presign_get(key, expires_seconds=seconds): ("get_object", {}, False),
        await two_endpoints.presign_get(key, expires_seconds=seconds, internal=True): ("get_object", {}, True),
        await two_endpoints.presign_get(
            key, expires_seconds=seconds, content_type="video/mp4", filename=name, download=True
        ): (
            "get_object",
            {
                "ResponseContentType": "video/mp4",
                "ResponseContentDisposition": disposition(name, download=True),
            },
            False,
        ),
        await two_endpoints.presign_put(key, expires_seconds=seconds): ("put_object", {}, False),
        await two_endpoints.presign_put(
            key, expires_seconds=seconds, content_type="video/mp4", size_bytes=7, only_new=True
        ): ("put_object", {"ContentType": "video/mp4", "ContentLength": 7, "IfNoneMatch": "*"}, False),
        await two_endpoints.presign_part(key, "an id/+", 3, size_bytes=0, expires_seconds=seconds): (
            "upload_part",
            {"UploadId": "an id/+", "PartNumber": 3, "ContentLength": 0},
            False,
        ),
    }
    for ours, (verb, params, internal) in signed.items():
        at = datetime.strptime(dict(parts_of(ours)[1])["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        with mock.patch("botocore.auth.get_current_datetime", return_value=at):
            theirs = two_endpoints.sign_call(verb, internal=internal, expires_seconds=seconds, Key=key, **params)
        assert parts_of(ours) == parts_of(theirs)


async def test_without_keys_nothing_is_signed_and_it_is_said_so(
    two_endpoints: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_endpoints, "_credentials", None)
    with pytest.raises(StorageUnavailable):
        await two_endpoints.presign_get("a key", expires_seconds=60)
    gone = mock.Mock()
    gone.get_frozen_credentials.side_effect = CredentialRetrievalError(provider="a role", error_msg="away")
    monkeypatch.setattr(two_endpoints, "_credentials", gone)
    with pytest.raises(StorageUnavailable):
        await two_endpoints.presign_part("a key", "an id", 1, size_bytes=1, expires_seconds=60)


@pytest.mark.parametrize("name", ["plain.mp4", "a b+c&d=e%2F;é文.mp4", "~tilde/(1) 'x'!*.mp4", "a//b/c.mp4"])
async def test_the_server_takes_what_is_signed_and_nothing_else(app: FastAPI, name: str) -> None:
    key = f"test/{secrets.token_hex(8)}/{name}"
    address = await storage.presign_put(key, expires_seconds=60, content_type="video/mp4", size_bytes=4)
    sent = {"Content-Type": "video/mp4"}
    assert await put(address.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), b"four", **sent) == 403
    assert await put(address, b"four", **{"Content-Type": "video/webm"}) == 403
    assert await put(address, b"four", **sent) == 200
    found = await storage.head(key)
    assert found is not None
    assert found.size_bytes == 4
    read = await storage.presign_get(key, expires_seconds=60, content_type="video/x-é", filename="é & co.mp4")
    async with httpx.AsyncClient() as client:
        answer = await client.get(read)
        assert (answer.status_code, answer.content) == (200, b"four")
        assert (await client.get(read.replace("/test/", "/test/x", 1))).status_code == 403
