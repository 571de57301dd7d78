"""A listener that takes a ring and never answers it; started and killed by the tests. Its argument is the queue."""

import asyncio
import signal
import sys

from backend.core.queue import Doorbell, make_doorbell
from backend.core.queue.sqs_queue import SqsDoorbell


async def main(queue: str) -> None:
    bell: Doorbell = make_doorbell()
    if isinstance(bell, SqsDoorbell):
        bell = SqsDoorbell(visibility_seconds=2)

    async def answer() -> None:
        print("taken", flush=True)
        await asyncio.sleep(3600)

    print("listening", flush=True)
    await bell.listen([queue], answer, free=lambda: 1)


if __name__ == "__main__":
    # Shells start what runs in the background deaf to it, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.run(main(sys.argv[1]))
