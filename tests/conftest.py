"""What all tests share: hypothesis without clocks, kernels without spinning threads, an order."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# In the background of a script SIGINT is ignored, under nohup SIGHUP, by whatever tests start too,
# which wait for it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Before torch is imported: on tiny tensors threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asserts a wall-clock time: a busy machine must not fail a law.
settings.register_profile("realm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# In continuous integration the same examples each time; elsewhere new ones are sought.
settings.register_profile("ci", settings.get_profile("realm"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "realm")


#: The longest first, and each alone: started last, one of them would keep a core idle.
LONGEST = (
    "tests/acceptance/test_fact_world.py",
    "tests/acceptance/test_bench.py::test_every_claim_holds[switch]",
    "tests/acceptance/test_bench.py::test_every_claim_holds[chaos]",
    "tests/acceptance/test_bench.py",
    "tests/acceptance/",
    "tests/integration/test_s3",
    "tests/integration/test_embedder",
    "tests/integration/",
)
#: These have no fixtures that the tests of a file share.
ALONE = "tests/acceptance/"


def pytest_collection_finish() -> None:
    """What was imported stays: looked through again and again for garbage, it cost a fifth of the
    time of all tests."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.nodeid))


def _rank(nodeid: str) -> int:
    ranks = (rank for rank, start in enumerate(LONGEST) if nodeid.startswith(start))
    return next(ranks, len(LONGEST))


class FilesInOrder(LoadFileScheduling):  # type: ignore[misc]
    """Gives each process a file at a time, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(ALONE) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesInOrder:
    return FilesInOrder(config, log)
