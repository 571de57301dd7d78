"""The traps, the kit that makes hostile files, and the table of what became of them."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest

from backend.videos import sandbox
from tests.videos.hostile.kit import Kit, Listener, Watch, listening


@dataclass
class Table:
    """What became of each kind, for the summary."""

    answers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    crashes: int = 0
    calls: int = 0
    opened: int = 0

    def lines(self) -> Iterator[str]:
        yield f"{'kind':<14}{'files':>6}{'slowest':>9}  answers"
        for kind, answers in self.answers.items():
            told = ", ".join(f"{code} {count}" for code, count in answers.most_common())
            yield f"{kind:<14}{answers.total():>6}{max(self.seconds[kind]):>7.1f} s  {told}"
        files = sum(each.total() for each in self.answers.values())
        yield f"{files} files; {self.crashes} crashes, {self.calls} calls to the listener, {self.opened} canary opens"


@pytest.fixture(scope="module")
async def listener() -> AsyncIterator[Listener]:
    async with listening() as listener:
        yield listener


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Kit:
    return Kit(tmp_path_factory.mktemp("hostile"), listener.port)


@pytest.fixture(scope="module")
def watch(kit: Kit) -> Iterator[Watch]:
    watch = Watch(kit.canary)
    yield watch
    watch.close()


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    table = Table()
    yield table
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    if table.answers:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            print("", *table.lines(), sep="\n")


@pytest.fixture(scope="module")
def crashes() -> Iterator[list[str]]:
    """What tools were ended by signals nobody sent."""
    seen: list[str] = []

    class Watched(sandbox.ToolOutput):
        def __post_init__(self) -> None:
            if self.returncode < 0 and not self.hit_a_limit:
                seen.append(f"signal {-self.returncode}: {self.stderr[-200:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "ToolOutput", Watched)
        yield seen
