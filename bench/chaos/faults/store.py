"""The store, an S3, fails for one process or for all, in one folder or everywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from bench.apparatus.apparatus import Part
from bench.apparatus.s3 import Failure, S3Fault
from bench.chaos.faults.kinds import Effects, LastingFault
from realm.errors import RealmError

ALL = "all"
FOLDERS = ("control", "corpus", "generations", "live", "passages", "snapshots", "vectors", "")
LONGEST_DELAY_SECONDS = 3.0
#: From here on a store keeps back what needs many requests to it.
SLOW_SECONDS = 1.0


class StoreFault(LastingFault):
    """Targets are processes and folders."""

    needs = Part.S3
    failures: ClassVar[tuple[Failure, ...]]
    #: Whether requests may fail while it lasts.
    refuses: ClassVar[bool] = True

    def targets(self) -> Sequence[str]:
        processes = [*self.scene.mostly_leader(self.scene.cluster.service_names), ALL]
        return [
            f"{failure} {folder}/ of {process}"
            for failure in self.failures
            for folder in FOLDERS
            for process in processes
        ]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        failure, folder, _, process = target.split(" ")
        every = process == ALL
        processes = self.scene.cluster.service_names if every else [process]
        seconds = rng.uniform(0.1, LONGEST_DELAY_SECONDS) if failure == Failure.SLOW else 0.0
        share = rng.choice((0.3, 1.0))
        self.scene.cluster.apparatus.s3_faults[target] = [
            S3Fault(Failure(failure), each, folder.removeprefix("/"), share, seconds)
            for each in processes
        ]
        try:
            self.scene.cluster.apparatus.apply_s3_faults()
        except RealmError:
            self.scene.cluster.apparatus.s3_faults.pop(target)
            raise
        return Effects(
            storeless=frozenset(processes if self.refuses else ()),
            slowed=frozenset(processes if seconds >= SLOW_SECONDS else ()),
        )

    def end(self, target: str) -> None:
        self.scene.cluster.apparatus.s3_faults.pop(target, None)
        self.scene.cluster.apparatus.apply_s3_faults()


class StoreErrors(StoreFault, name="store_errors", weight=4, lasts=(3.0, 30.0)):
    """It says 500 or 503, to some requests or to all."""

    failures = (Failure.INTERNAL_ERROR, Failure.SLOW_DOWN)


class SlowStore(StoreFault, name="slow_store", weight=3, lasts=(5.0, 60.0)):
    failures = (Failure.SLOW,)
    refuses = False


class LostReplies(StoreFault, name="lost_replies", weight=4, lasts=(3.0, 30.0)):
    """Changes take place, but nobody hears of it."""

    failures = (Failure.LOST_REPLY, Failure.LATE_ERROR)
    refuses = False


class FullStore(StoreFault, name="full_store", weight=3, lasts=(3.0, 30.0)):
    failures = (Failure.FULL,)
