"""Runs schedules until one breaks an invariant, on several processors; shortens what failed."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from unittest.mock import patch

import pyarrow as pa
import structlog

from bench.simulation.clock import REAL_MONOTONIC, installed
from bench.simulation.ground import inputs
from bench.simulation.happenings import Beginning
from bench.simulation.memo import remembering
from bench.simulation.plan import Plan, draw
from bench.simulation.world import Outcome, ground_of, run
from realm.corpus import compaction
from realm.process import identity
from services.indexer.context import SnapshotInputs
from services.indexer.writes import applier

#: Unused memory is given back so often.
COLLECT_EVERY = 50
#: A worker stops after so many failures: more of them tell nothing new.
ENOUGH = 3
#: Documents here are short: so much of a step counts as small.
SMALL_COST = 600
#: And writes are few: the table is scattered sooner.
SCATTERED_FILES = 5


@dataclass
class Found:
    """What some schedules came to; `failures` are their numbers and what failed."""

    schedules: int = 0
    steps: int = 0
    simulated_seconds: float = 0.0
    processor_seconds: float = 0.0
    reached: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, outcome: Outcome) -> None:
        self.schedules += 1
        self.steps += outcome.steps
        self.simulated_seconds += outcome.seconds
        self.reached += outcome.reached
        if outcome.failure:
            self.failures.append((number, outcome.failure))

    def join(self, other: Found) -> None:
        self.schedules += other.schedules
        self.steps += other.steps
        self.simulated_seconds += other.simulated_seconds
        self.processor_seconds += other.processor_seconds
        self.reached += other.reached
        self.failures += other.failures


def seed_of(seed: int, number: int) -> str:
    return f"{seed}/{number}"


@contextmanager
def simulating() -> Iterator[None]:
    """Schedules can be run meanwhile."""
    # Of what Delta and Arrow have to do here, nothing is worth a thread.
    pa.set_cpu_count(1)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        with (
            installed(),
            remembering(),
            patch.object(applier, "SMALL_COST", SMALL_COST),
            patch.object(compaction, "SCATTERED_FILES", SCATTERED_FILES),
            # No snapshot here has files of a tokenizer.
            patch.object(SnapshotInputs, "of", lambda *_: inputs()),
            # All processes here are one, which began once.
            patch.object(identity, "_started", cache(identity._started)),
        ):
            for beginning in Beginning:
                ground_of(beginning)
            yield
    finally:
        structlog.configure(**before)


def explore(seed: int, first: int, every: int, most: int, seconds: float) -> Found:
    """Schedules first, first + every, … below `most`, for so many seconds."""
    found, until, began = Found(), REAL_MONOTONIC() + seconds, time.process_time()
    with simulating():
        gc.collect()
        gc.freeze()
        gc.disable()
        for number in range(first, most, every):
            if REAL_MONOTONIC() >= until or len(found.failures) >= ENOUGH:
                break
            found.add(number, run(draw(seed_of(seed, number))))
            if found.schedules % COLLECT_EVERY == 0:
                gc.collect()
        gc.enable()
        gc.unfreeze()
    found.processor_seconds = time.process_time() - began
    return found


def explore_on_all(seed: int, workers: int, most: int, seconds: float) -> Found:
    """As `explore`, by several processes."""
    found = Found()
    context = multiprocessing.get_context("fork")
    with context.Pool(workers) as pool:
        shares = [(seed, first, workers, most, seconds) for first in range(workers)]
        for share in pool.starmap(explore, shares, chunksize=1):
            found.join(share)
    found.failures.sort()
    return found


def shorten(plan: Plan) -> tuple[list[int], Outcome]:
    """The places of what suffices to fail, one by one left out; and what comes of it.

    Call while `simulating`; the plan must fail.
    """
    kept, outcome = list(range(len(plan.parts()))), run(plan)
    assert outcome.failure, "it must fail as it is"
    for place in reversed(list(kept)):
        fewer = [each for each in kept if each != place]
        without = run(plan.only(fewer))
        if without.failure:
            kept, outcome = fewer, without
    return kept, outcome
