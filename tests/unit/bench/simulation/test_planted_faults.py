"""Faults planted in the product, one after the other: the simulation finds each within some
schedules, and again when the schedule is replayed from its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from bench.simulation.plan import draw
from bench.simulation.search import seed_of, simulating
from bench.simulation.world import run
from realm.records.generations import Generations
from realm.records.retention import Retention
from realm.records.states import State
from services.gateway.watcher import LiveWatcher
from services.indexer.build import lifecycle
from services.indexer.gate import checks
from services.indexer.writes.applier import ChangeApplier, ChangeStep
from services.indexer.writes.replication import ReplicationState
from services.indexer.writes.requests import RequestHistory

#: By then each must have been found: the rarest shows in one schedule of 170, whichever is first.
MOST = 1000

Fault = Callable[[ExitStack], None]


def replaced(owner: Any, name: str, by: Any) -> Fault:
    return lambda stack: stack.enter_context(patch.object(owner, name, by)) and None


def incomplete(stack: ExitStack) -> None:
    """Nobody asks whether all shards are loaded, and the gate does not compare with the files."""

    def fill(candidate: lifecycle.GenerationView, progress: lifecycle.Progress) -> Any:
        return real(candidate, replace(progress, files=progress.loaded))

    real = lifecycle._fill
    stack.enter_context(patch.object(lifecycle, "_fill", fill))
    stack.enter_context(patch.object(checks, "CHECKS", {}))


def recorded_too_soon(stack: ExitStack) -> None:
    """A step is recorded before its points are written."""

    def apply(self: ChangeApplier, generation: Any, step: ChangeStep) -> None:
        self._generations.record_applied(generation.number, step.upto, None)
        real(self, generation, step)

    real = ChangeApplier._apply
    stack.enter_context(patch.object(ChangeApplier, "_apply", apply))


def retained_is_forgotten(stack: ExitStack) -> None:
    def is_needed(self: Retention, number: int) -> bool:
        return self._generations.state(number) is not State.RETAINED and real(self, number)

    real = Retention._is_needed
    stack.enter_context(patch.object(Retention, "_is_needed", is_needed))


def flips_behind(stack: ExitStack) -> None:
    """The retained one is not kept behind live, and a gateway does not wait for what is behind."""
    stack.enter_context(patch.object(ReplicationState, "may_apply", lambda *_: True))
    stack.enter_context(patch.object(LiveWatcher, "_is_behind", lambda *_: False))


FAULTS: dict[str, tuple[Fault, str]] = {
    "a commit without completeness": (incomplete, "lacks"),
    "a commit behind live": (
        replaced(ReplicationState, "may_go_live", lambda *_: True),
        "went live at version",
    ),
    "no fence before a leader begins": (
        replaced(Generations, "fence", lambda *_: None),
        "had begun to lead",
    ),
    "applied is recorded before points are written": (recorded_too_soon, "claims version"),
    "retention forgets the retained": (retained_is_forgotten, "was deleted, and retained"),
    "a write whose answer was lost is written again": (
        replaced(RequestHistory, "read", lambda *_: None),
        "is in versions",
    ),
    "a gateway flips behind": (flips_behind, "goes back from version"),
}


@pytest.fixture(scope="module", autouse=True)
def _simulating() -> Iterator[None]:
    with simulating():
        yield


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    with ExitStack() as stack:
        fault(stack)
        yield


@pytest.mark.claims
@pytest.mark.parametrize("name", FAULTS)
def test_it_is_found_and_replayed(name: str) -> None:
    fault, words = FAULTS[name]
    with planted(fault):
        for number in range(MOST):
            outcome = run(draw(seed_of(0, number)))
            if words in outcome.failure and outcome.failure:
                break
        else:
            pytest.fail(f"not within {MOST} schedules")
        again = run(draw(seed_of(0, number)))
        assert (again.failure, again.trace) == (outcome.failure, outcome.trace)
    assert not run(draw(seed_of(0, number))).failure, "it is the fault that breaks it"
