"""How `make test` spreads the suite over processes, each with servers of its own: by whole files, the longest first.

`pytest path` by hand knows nothing of this: it runs in one process.
"""

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IN_WORKER:
    os.dup2(2, 1)  # xdist drops what tests tell people past pytest's capture

#: They kill, freeze and time processes, and some want a machine to themselves: one after the other, never two at once.
ONE_AT_A_TIME = (
    "tests/bench/",
    "tests/chaos/",
    "tests/flows/test_make_run.py",
    "tests/jobs/test_neighbours.py",
    "tests/jobs/test_poison.py",
    "tests/jobs/test_streams.py",
    "tests/jobs/test_worker.py",
    "tests/local/",
)
#: What takes longest comes before all that fills the gaps at the end.
LONG = (
    "tests/flows/",
    "tests/videos/hostile/",
    "tests/admin/doctor/",
    "tests/core/queue/",
    "tests/admin/test_browser",
    "tests/jobs/test_model.py",
    "tests/jobs/test_family_model.py",
)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if IN_WORKER:  # its progress is told by the process that started it
        config.pluginmanager.unregister(name="terminalreporter")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: (not item.nodeid.startswith(ONE_AT_A_TIME), not item.nodeid.startswith(LONG)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what failed; the end, with the reasons, is half an hour away."""
    if report.failed and not IN_WORKER:
        print(f"\n{report.nodeid} failed ({report.when})", flush=True)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return WholeFiles(config, log)


class WholeFiles(LoadScopeScheduling):  # type: ignore[misc]
    """A file's tests share servers and browsers; they stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return "one at a time" if nodeid.startswith(ONE_AT_A_TIME) else nodeid.partition("::")[0]
