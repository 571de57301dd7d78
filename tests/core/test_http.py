"""Requests to addresses that users name go to the public internet, or nowhere."""

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backend.config import ConfigurationError, Settings, settings
from backend.core import http
from backend.core.addresses import Address, is_public
from backend.core.errors import UrlNotAllowed
from backend.core.http import NoAnswer, TooLarge, check_url, download, post, request
from tests.core.targets import TARGETS, Listener, listening

Names = dict[str, list[list[str]]]


@pytest.fixture
async def listener(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listener]:
    """Its port is one that requests may go to: only the address can be why nobody comes."""
    async with listening() as opened:
        monkeypatch.setattr(settings, "outbound_ports", [80, 443, opened.port])
        yield opened


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda *targets: monkeypatch.setattr(settings, "allowed_private_targets", list(targets))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What each name resolves to, the first time, the second, …; the last for ever."""
    known: Names = {}

    async def resolve(name: str) -> list[Address]:
        turns = known[name]
        return [ip_address(each) for each in (turns.pop(0) if len(turns) > 1 else turns[0])]

    monkeypatch.setattr(http, "resolve", resolve)
    return known


async def send(url: str, **options: float) -> http.Answer:
    return await post(url, headers={"X-From": "test"}, body=b"{}", **{"timeout_seconds": 5, **options})  # type: ignore[arg-type]


# --- where it may go -------------------------------------------------------------------------------------------------


async def test_no_target_is_ever_connected_to(listener: Listener) -> None:
    assert len(set(TARGETS)) >= 40
    for target in TARGETS:
        url = target.format(port=listener.port)
        with pytest.raises(UrlNotAllowed) as refusal:
            await check_url(url)
        assert (refusal.value.status, refusal.value.code) == (422, "url_not_allowed")
        with pytest.raises(UrlNotAllowed):
            await send(url)
    assert listener.accepted == []


async def test_a_name_that_leads_there_is_refused_for_any_of_its_addresses(listener: Listener, names: Names) -> None:
    private = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "169.254.169.254"]
    private.append("fe80::1%2")
    for number, address in enumerate(private):
        for answer in ([address], ["93.184.216.34", address], [address, "2606:4700::1111"]):
            names[f"n{number}.example"] = [answer]
            with pytest.raises(UrlNotAllowed):
                await send(f"http://n{number}.example:{listener.port}/")
    names["nothing.example"] = [[]]
    with pytest.raises(UrlNotAllowed):
        await send(f"http://nothing.example:{listener.port}/")
    assert listener.accepted == []


async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    listener: Listener, names: Names, allow: Callable[..., None]
) -> None:
    allow("127.0.0.9/32")
    names["rebind.example"] = [["127.0.0.9"], ["127.0.0.1"]]
    answer = await send(f"http://rebind.example:{listener.port}/x?y=1")
    assert (answer.status, listener.accepted) == (204, ["::ffff:127.0.0.9"])
    head = listener.requests[0].decode()
    assert head.startswith("POST /x?y=1 HTTP/1.1\r\n")
    assert f"host: rebind.example:{listener.port}\r\n" in head.lower(), "the name is kept"
    with pytest.raises(UrlNotAllowed):
        await send(f"http://rebind.example:{listener.port}/")
    assert len(listener.accepted) == 1


async def test_a_redirect_is_an_answer_and_is_not_followed(listener: Listener, allow: Callable[..., None]) -> None:
    allow("127.0.0.9/32")
    for target in TARGETS:
        where = target.format(port=listener.port).encode("utf-8", "replace").replace(b"\t", b"")
        listener.answer = b"HTTP/1.1 307 Over there\r\nLocation: " + where + b"\r\nContent-Length: 0\r\n\r\n"
        assert (await send(f"http://127.0.0.9:{listener.port}/")).status == 307
    assert listener.accepted == ["::ffff:127.0.0.9"] * len(TARGETS)


def test_only_the_public_internet_is_public() -> None:
    public = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "192.0.1.1", "2606:4700::1111", "2a00:1450::1", "2001:4860::8888"]
    assert [each for each in public if not is_public(ip_address(each))] == []
    # What `is_global` of some versions takes for global.
    private = ["64:ff9b::808:808", "2002:808:808::1", "224.0.0.1", "ff0e::1", "192.0.0.8", "192.88.99.1", "::808:808"]
    assert [each for each in private if is_public(ip_address(each))] == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "https://",
        "https:///x",
        "https://exa mple.com/",
        "https://-a.example/",
        "https://a..example/",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://@example.com/",
        "https://example.com/" + "x" * 2000,
        "https://example.com/\0",
        "https://example.com/\ud800",
        "https://1.2.3/",
        "https://[::1/",
        "https://" + "a" * 64 + ".example/",
    ],
)
async def test_what_is_no_clear_address_is_refused(url: str, names: Names) -> None:
    with pytest.raises(UrlNotAllowed):
        await check_url(url)


async def test_a_public_name_is_fine_and_one_that_is_not_known_is_not(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names["xn--bcher-kva.example"] = [["93.184.216.34", "2606:4700::1111"]]
    await check_url("https://Bücher.example./hook?a=b#c")
    monkeypatch.undo()
    with pytest.raises(UrlNotAllowed, match="could not be found"):
        await check_url("https://no-such-name.invalid/")


async def test_the_operator_says_what_else_may_be_reached(
    listener: Listener, names: Names, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["receiver.internal"] = [["127.0.0.1", "::1"]]
    names["other.internal"] = [["127.0.0.1"]]
    allow("Receiver.internal.")
    assert (await send(f"http://receiver.internal:{listener.port}/")).status == 204
    with pytest.raises(UrlNotAllowed):
        await send(f"http://other.internal:{listener.port}/")
    allow("127.0.0.0/8")
    assert (await send(f"http://other.internal:{listener.port}/")).status == 204
    with pytest.raises(UrlNotAllowed):
        await send(f"http://receiver.internal:{listener.port}/")  # one of its addresses is not listed
    monkeypatch.setattr(settings, "outbound_ports", [80])
    with pytest.raises(UrlNotAllowed, match="Port"):
        await send(f"http://other.internal:{listener.port}/")
    monkeypatch.setattr(settings, "outbound_plain_http", False)
    with pytest.raises(UrlNotAllowed, match="https"):
        await send("http://other.internal/")


def test_a_target_that_means_nothing_is_refused_at_boot() -> None:
    good = {"secret_key": "k" * 32, "database_url": "x", "redis_url": "x"}
    for wrong in ("10.0.0.1/8", "http://x", "10.0.0.300", "127.1", "*"):
        with pytest.raises(ConfigurationError, match="ALLOWED_PRIVATE_TARGETS"):
            Settings(_env_file=None, allowed_private_targets=[wrong], **good).check()  # type: ignore[arg-type]
    Settings(_env_file=None, allowed_private_targets=["10.0.0.0/8", "::1", "a.b"], **good).check()  # type: ignore[arg-type]


def certificate(name: str, path: Path) -> None:
    """A key and a certificate that vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    signed = made.sign(key, hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = key.private_bytes(pem, form, serialization.NoEncryption()) + signed.public_bytes(pem)
    path.write_bytes(text)


async def test_a_certificate_has_to_be_for_the_name_though_an_address_is_connected_to(
    names: Names, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate("receiver.example", tmp_path / "pem")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(tmp_path / "pem")
    trusting = ssl.create_default_context(cafile=tmp_path / "pem")
    monkeypatch.setattr(http, "_tls", lambda: trusting)
    allow("127.0.0.1/32")
    names["receiver.example"] = names["other.example"] = [["127.0.0.1"]]
    listener = Listener()
    async with await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=serving) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(settings, "outbound_ports", [port])
        assert (await send(f"https://receiver.example:{port}/")).status == 204
        for name in ("other.example", "127.0.0.1"):
            with pytest.raises(NoAnswer, match="certificate"):
                await send(f"https://{name}:{port}/")
        monkeypatch.undo()
    assert len(listener.requests) == 1


# --- what comes back -------------------------------------------------------------------------------------------------


async def test_the_next_address_is_tried_when_one_does_not_answer(
    names: Names, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow("127.0.0.0/8", "::1/128")
    names["two.example"] = [["::1", "127.0.0.1"]]
    listener = Listener()
    async with await asyncio.start_server(listener.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(settings, "outbound_ports", [port])
        assert (await send(f"http://two.example:{port}/")).status == 204


async def test_an_answer_is_cut_in_size_and_is_not_unpacked(listener: Listener, allow: Callable[..., None]) -> None:
    allow("127.0.0.1/32")
    listener.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000
    answer = await send(f"http://127.0.0.1:{listener.port}/", max_answer_bytes=2000)
    assert (answer.status, answer.body) == (200, b"x" * 2000)
    packed = gzip.compress(b"0" * 10_000_000)
    listener.answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + packed
    assert (await send(f"http://127.0.0.1:{listener.port}/")).body == packed


async def test_no_answer_is_told_from_a_refusal(listener: Listener, allow: Callable[..., None]) -> None:
    allow("127.0.0.1/32")
    for nonsense in (b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000):
        listener.answer = nonsense
        with pytest.raises(NoAnswer):
            await send(f"http://127.0.0.1:{listener.port}/")
    with pytest.raises(NoAnswer):
        await send(f"https://127.0.0.1:{listener.port}/", timeout_seconds=0.5)  # it speaks no TLS


async def test_who_says_nothing_or_never_ends_is_waited_for_no_longer_than_said(
    listener: Listener, allow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow("127.0.0.1/32")
    monkeypatch.setattr(http, "BODY_SECONDS", 0.3)
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, rest = (b"HTTP/1.1 200 OK\r\n\r\n", b"x") if b"/body" in await reader.readline() else (b"", b"H")
        writer.write(head)
        while not ended.is_set():
            writer.write(rest)
            await asyncio.sleep(0.05)
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(settings, "outbound_ports", [port])
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="within"):
            await send(f"http://127.0.0.1:{port}/head", timeout_seconds=0.3)
        body = await send(f"http://127.0.0.1:{port}/body", timeout_seconds=3)
        assert (body.status, set(body.body)) == (200, {ord("x")}), "the status is the answer"
        assert time.monotonic() - began < 30
        ended.set()


# --- files -----------------------------------------------------------------------------------------------------------


async def fetch(url: str, path: Path, **options: object) -> http.Answer:
    return await download(url, path, **{"max_bytes": 1000, "timeout_seconds": 5, **options})  # type: ignore[arg-type]


async def test_a_file_is_written_as_it_comes_and_no_more_of_it_than_may_be(
    listener: Listener, allow: Callable[..., None], tmp_path: Path
) -> None:
    url, path = f"http://127.0.0.1:{listener.port}/a.png", tmp_path / "a"
    allow("127.0.0.1/32")
    listener.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    assert (await fetch(url, path)).status == 200
    assert path.read_bytes() == b"x" * 1000
    for longer in (b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, b"\r\n" + b"x" * 3000):
        listener.answer = b"HTTP/1.1 200 OK\r\n" + longer
        with pytest.raises(TooLarge):
            await fetch(url, path)
        assert path.stat().st_size <= 1000
    listener.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 10
    with pytest.raises(NoAnswer) as cut:
        await fetch(url, path)
    assert cut.value.cut
    listener.answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 5\r\n\r\nthere"
    moved = await fetch(url, tmp_path / "b")
    assert (moved.status, moved.body, (tmp_path / "b").exists()) == (302, b"there", False)


async def test_only_what_the_operator_has_set_up_is_fetched_from_private_addresses(
    listener: Listener, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{listener.port}/a.png"
    with pytest.raises(UrlNotAllowed):
        await fetch(url, tmp_path / "a")
    assert listener.accepted == []
    assert (await fetch(url, tmp_path / "a", trusted=True)).status == 204


async def test_a_body_may_be_made_as_it_is_sent(listener: Listener, allow: Callable[..., None]) -> None:
    allow("127.0.0.1/32")

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    url = f"http://127.0.0.1:{listener.port}/"
    sent = {"headers": {"Content-Length": "6"}, "body": body, "timeout_seconds": 5.0}
    assert (await request("PATCH", url, **sent)).status == 204  # type: ignore[arg-type]
    head = listener.requests[-1].decode().lower()
    assert head.startswith("patch / http/1.1")
    assert "content-length: 6" in head
    assert "transfer-encoding" not in head


async def test_who_is_not_there_is_told_from_who_hangs_up(listener: Listener, allow: Callable[..., None]) -> None:
    allow("127.0.0.1/32")
    listener.answer = b""
    with pytest.raises(NoAnswer) as hung_up:
        await send(f"http://127.0.0.1:{listener.port}/")
    with pytest.raises(NoAnswer) as nobody:
        await send("http://127.0.0.1:80/")
    assert (hung_up.value.cut, nobody.value.cut) == (True, False)
