"""Requests at their times, whether or not those before them are answered: an open loop."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import httpx

from bench.place import Process

WARM_UP_SECONDS = 1.0


class Answer(Protocol):
    """As much of one as counts here."""

    @property
    def status_code(self) -> int: ...


@dataclass(frozen=True)
class Load:
    """How a process answered: times in seconds in order, the warm-up left out, and its CPU-seconds for each request.

    What was not answered as it should be took for ever.
    """

    took: list[float]
    cpu_seconds: float
    per_second: float

    def p(self, percent: int) -> float:
        """A percentile of the times, in milliseconds."""
        return 1000 * self.took[math.ceil(len(self.took) * percent / 100) - 1]

    def __str__(self) -> str:
        times = ", ".join(f"p{percent} {self.p(percent):.1f} ms" for percent in (50, 95, 99))
        cpu = f"{1000 * self.cpu_seconds:.2f} ms of CPU each ({1 / self.cpu_seconds:.0f} a CPU-second)"
        refused = sum(math.isinf(each) for each in self.took)
        return f"{times}, {self.per_second:.0f}/s, {cpu}" + (f", {refused} REFUSED" if refused else "")


async def load(
    process: Process, ask: Callable[[], Awaitable[Answer]], *, status: int, rate: float, seconds: float
) -> Load:
    """Each request begins at its time; it waited since then, also when this process was late."""

    async def one(at: float) -> float:
        try:
            right = (await ask()).status_code == status
        except (httpx.TransportError, OSError, EOFError):
            right = False
        return time.perf_counter() - at if right else math.inf

    began, computed = time.perf_counter(), process.cpu_seconds()
    asked = []
    count = int(rate * (seconds + WARM_UP_SECONDS))
    for number in range(count):
        at = began + number / rate
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        asked.append(asyncio.create_task(one(at)))
    took = await asyncio.gather(*asked)
    spent = max(process.cpu_seconds() - computed, 0.01)
    lasted = time.perf_counter() - began
    return Load(sorted(took[int(rate * WARM_UP_SECONDS) :]), spent / count, count / lasted)


async def one_by_one(ask: Callable[[], Awaitable[Answer]], count: int) -> list[float]:
    """How long each took (s), where the next begins when one has ended. Raises RuntimeError: for another than 200."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await ask()
        took.append(time.perf_counter() - began)
        if answer.status_code != 200:
            raise RuntimeError(f"answered {answer.status_code}")
    return took
