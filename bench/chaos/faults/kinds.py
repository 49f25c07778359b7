"""What a kind of fault is, and the registry of all that there are.

A kind lives in one module of this package. Its class says its name, its weight among the faults
and, if it lasts, how long: `class Stop(LastingFault, name="stop", weight=18, lasts=(1.0, 120.0))`.
"""

from __future__ import annotations

import pkgutil
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

from bench.apparatus.apparatus import Part
from bench.apparatus.network import Link
from bench.chaos import faults
from bench.chaos.scene import Scene
from realm.errors import BadSettings


@dataclass(frozen=True, slots=True)
class Effects:
    """What a fault hit: judging excuses failures of nothing else.

    :param processes: names; a gateway among them fails requests until it is ready again.
    :param paths: of files in the store.
    :param generation: whose collection lost something; 0: none.
    :param links: that were cut.
    :param storeless: processes that the store refused.
    :param slowed: processes that the store kept waiting for a second and more.
    """

    processes: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    generation: int = 0
    links: frozenset[Link] = frozenset()
    storeless: frozenset[str] = frozenset()
    slowed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was injected. Unix times; `phase`: of the refresh under way just before."""

    kind: str
    target: str
    began: float
    ended: float
    phase: str
    effects: Effects = Effects()


class FaultKind(ABC):
    """Chooses a target and does one thing to it. All calls block.

    `needs` is the part of the apparatus without which it can do nothing, if there is one. One that
    `aims_at_a_phase` acts at once: a flip would be over before another look at the store.
    """

    name: ClassVar[str]
    weight: ClassVar[float]
    needs: ClassVar[Part | None] = None
    aims_at_a_phase: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str = "", weight: float = 0.0, **others: Any) -> None:
        super().__init_subclass__(**others)
        if name:
            cls.name, cls.weight = name, weight
            _REGISTERED[name] = cls

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    @abstractmethod
    def targets(self) -> Sequence[str]:
        """What it could hit now."""

    def choose(self, rng: random.Random) -> str:
        """One of the targets; empty if there is none."""
        found = self.targets()
        return rng.choice(found) if found else ""

    @abstractmethod
    def begin(self, target: str, rng: random.Random) -> Effects | None:
        """Returns what it hit; None if the target was gone.

        :raises RealmError: if the store or Qdrant does not let it.
        """


class LastingFault(FaultKind):
    """Goes on until it is ended. `lasts`: the shortest and the longest time until then, in
    seconds."""

    lasts: ClassVar[tuple[float, float]]

    def __init_subclass__(cls, *, lasts: tuple[float, float] = (0.0, 0.0), **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.lasts = lasts

    def choose(self, rng: random.Random) -> str:
        """Nothing gets a second lasting fault."""
        found = [each for each in self.targets() if each not in self.scene.held]
        return rng.choice(found) if found else ""

    @abstractmethod
    def end(self, target: str) -> None:
        """Called when the time is over, or the run."""


_REGISTERED: dict[str, type[FaultKind]] = {}


def all_kinds() -> dict[str, type[FaultKind]]:
    """The kinds of this package by name."""
    for module in pkgutil.iter_modules(faults.__path__, f"{faults.__name__}."):
        import_module(module.name)
    return dict(sorted(_REGISTERED.items()))


def chosen_kinds(only: str, without: str) -> dict[str, type[FaultKind]]:
    """:param only: names, separated by commas; empty: all.
    :param without: names of those among them to leave out.
    :raises BadSettings: naming one that there is not.
    """
    known = all_kinds()
    wanted, unwanted = (
        {each.strip() for each in names.split(",")} - {""} for names in (only, without)
    )
    if unknown := sorted((wanted | unwanted) - known.keys()):
        raise BadSettings(
            f"there is no fault {', '.join(unknown)}; choose among {', '.join(known)}"
        )
    chosen = (wanted or known.keys()) - unwanted
    return {name: kind for name, kind in known.items() if name in chosen}
