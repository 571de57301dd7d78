"""What the tests of the Python client share: films, people, and somebody who receives webhooks."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dailies_client import Client
from tests.conftest import Live
from tests.flows.browser import make_clip
from tests.flows.uploading import MB, make_film

PASSWORD = "a long enough secret"


@dataclass
class Receiver:
    """Keeps what it is sent."""

    url: str
    port: int
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)

    @property
    def allowed(self) -> dict[str, str]:
        """Settings with which the platform sends to it."""
        return {"OUTBOUND_PORTS": f"80,443,{self.port}", "ALLOWED_PRIVATE_TARGETS": "127.0.0.1/32"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            mine.received.append((dict(self.headers.items()), body))
            mine.came.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        mine = Receiver(f"http://127.0.0.1:{port}/hook", port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield mine
        server.shutdown()


@pytest.fixture(scope="module")
def live_settings(receiver: Receiver) -> dict[str, str]:
    return receiver.allowed


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second that plays."""
    return make_clip(tmp_path_factory.mktemp("clips") / "harbour.mp4", seconds=1, size="320x180")


@pytest.fixture(scope="session")
def reel(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB that play: two parts."""
    return make_film(tmp_path_factory.mktemp("reels") / "harbour_reel.mp4", clip, 20 * MB, seed=5)


@pytest.fixture(scope="session")
def film(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 MB that play: five parts."""
    return make_film(tmp_path_factory.mktemp("films") / "harbour_film.mp4", clip, 70 * MB, seed=6)


def new_email() -> str:
    return f"c{secrets.token_hex(6)}@example.org"


@pytest.fixture
def person(live: Live, clean: None) -> Iterator[Client]:
    """Somebody who has just registered."""
    with Client(live.url) as client:
        client.register(new_email(), PASSWORD)
        yield client
