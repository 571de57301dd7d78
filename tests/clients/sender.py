"""Sends a file in a process of its own, slowly when told so, and tells its progress: to be killed on the way."""

import json
import sys
import time
from datetime import datetime

from dailies_client import Client, Tokens


def main(url: str, tokens: str, path: str, pause_seconds: str) -> None:
    def tell(sent: int, total: int) -> None:
        print(sent, flush=True)
        time.sleep(float(pause_seconds))

    given = json.loads(tokens)
    given["expires_at"] = datetime.fromisoformat(given["expires_at"])
    with Client(url, tokens=Tokens(**given)) as client:
        video = client.videos.upload(path, on_progress=tell, parallel=1)
    print(video.id, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
