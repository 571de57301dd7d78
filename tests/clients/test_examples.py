"""The examples of the Python client's README run as they stand, against a live server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Receiver
from tests.conftest import ROOT, Live

README = ROOT / "clients/python/README.md"
EXAMPLES = re.findall(r"## ([^\n]+)\n(?:(?!\n## ).)*?```python\n(.*?)```", README.read_text(), re.S)
#: What each is about, and says at its end.
SAYS = {
    "From a file to a video that plays": "completed 320 180 1.",
    "With a key": "the key has ended",
    "Tasks": "completed {'shot': 12} image/jpeg 1024x1024\nit had ended\n['generate_image']",
    "asyncio": "completed ['harbour']",
    "Webhooks": "webhook.test",
}


def test_every_example_is_run() -> None:
    assert [name for name, _ in EXAMPLES] == list(SAYS)
    assert README.read_text().count("```python") == len(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_the_example_says_what_it_should(
    name: str, live: Live, clean: None, receiver: Receiver, clip: Path, tmp_path: Path
) -> None:
    script = tmp_path / "example.py"
    script.write_text(dict(EXAMPLES)[name])
    env = {
        **os.environ,
        "DAILIES": live.url,
        "VIDEO": str(clip),
        "RECEIVER": receiver.url,
        "PYTHONPATH": str(ROOT / "clients/python"),
    }
    run = [sys.executable, str(script)]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAYS[name] in done.stdout
    if name.startswith("From a file"):
        assert (tmp_path / "copy.mp4").read_bytes() == clip.read_bytes()


def test_the_receiver_of_the_example_tells_right_from_wrong() -> None:
    from tests.clients.test_webhooks import BODY, new_secret, signed

    secret = new_secret()
    function = dict(EXAMPLES)["Webhooks"]
    beginning = "from dailies_client import SignatureError, verify_webhook\n"
    scope: dict[str, object] = {"webhook": type("Webhook", (), {"secret": secret})}
    exec(beginning + function[function.index("def receive") :], scope)  # noqa: S102 — it is ours
    receive = scope["receive"]
    assert callable(receive)
    assert receive(signed(secret), BODY.encode()) == 204
    assert receive(signed(secret), BODY.encode() + b" ") == 400
