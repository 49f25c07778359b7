"""What is planned is done, what lasts is ended, and what found no target is tried again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

import pytest

from bench.chaos.faults.kinds import Effects, FaultKind, LastingFault
from bench.chaos.injector import FaultInjector
from bench.chaos.scene import Scene
from bench.chaos.schedule import PlannedFault
from realm.errors import DependencyUnavailable
from realm.records.generations import Generations
from realm.records.store import Store
from tests.unit.bench.chaos.test_faults import Stored


class Late(FaultKind):
    """Has a target from its third look on."""

    name = "late"
    looks: ClassVar[int] = 0

    def targets(self) -> Sequence[str]:
        Late.looks += 1
        return ["it"] if Late.looks > 2 else []

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        return Effects()


class Aimed(Late):
    """What it hits was in a phase that another look takes for over."""

    aims_at_a_phase = True

    def targets(self) -> Sequence[str]:
        return ["it"]


class Stubborn(LastingFault):
    """Its end fails once."""

    name = "stubborn"
    ends: ClassVar[list[str]] = []

    def targets(self) -> Sequence[str]:
        return ["one", "other"]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        return Effects(processes=frozenset({target}))

    def end(self, target: str) -> None:
        Stubborn.ends.append(target)
        if len(Stubborn.ends) == 1:
            raise DependencyUnavailable("not yet")


def injector(store: Store) -> tuple[FaultInjector, Scene]:
    scene = Scene(Stored(store), Generations(store), 0.1, lambda: 0)  # type: ignore[arg-type]
    return FaultInjector(scene, {"late": Late, "aimed": Aimed, "stubborn": Stubborn}), scene


async def test_what_found_no_target_is_tried_again_before_the_next(store: Store) -> None:
    Late.looks = 0
    made, scene = injector(store)
    await made.run([PlannedFault(0.0, "late", 0.0, 0.1), PlannedFault(0.01, "late", 0.0, 0.2)])
    assert [each.kind for each in scene.faults] == ["late"]
    assert Late.looks == 3


async def test_what_lasts_holds_its_target_and_is_ended_at_the_latest_with_the_run(
    store: Store,
) -> None:
    Stubborn.ends.clear()
    made, scene = injector(store)
    await made.run([PlannedFault(0.0, "stubborn", 1000.0, draw) for draw in (0.1, 0.2, 0.3)])
    assert sorted(each.target for each in scene.faults) == ["one", "other"]
    assert sorted(Stubborn.ends) in (["one", "one", "other"], ["one", "other", "other"])
    assert not scene.held
    assert all(each.ended >= each.began for each in scene.faults)
    assert {each.phase for each in scene.faults} == {"rest"}


async def test_what_aims_at_a_phase_acts_before_another_look(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def begin(aimed: Aimed, target: str, rng: random.Random) -> Effects:
        done.append("fault")
        return Effects()

    def phase(scene: Scene) -> str:
        done.append("look")
        if len(done) > 2:
            raise DependencyUnavailable("the store is away")
        return "flip"

    monkeypatch.setattr(Aimed, "begin", begin)
    monkeypatch.setattr(Scene, "phase", phase)
    made, scene = injector(store)
    await made.run([PlannedFault(0.0, "aimed", 0.0, 0.1), PlannedFault(0.01, "aimed", 0.0, 0.2)])
    assert done == ["fault", "look", "fault", "look"]
    assert [each.phase for each in scene.faults] == ["flip", "rest"]
