"""Which generations follow the writes and how far each one is; shared by applier, gate and commit.

This is where guarantee 1's order is kept. One of the generations may be *catching up*: the loaded
candidate, or the retained one during a rollback. Once it has reached live it *gates live*: live
takes no step before it. From then on `applied(catching up) ≥ applied(live)`, however steady the
writes, and the switch needs no pause. The other generations take no step before live.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

from realm.errors import Conflict
from realm.records.generation import Generation
from realm.records.generations import Generations


@dataclass(slots=True)
class _Replica:
    generation: Generation
    applied: int
    #: Points that its collection should hold; only their change so far if `points_known` is False.
    points: int = 0
    points_known: bool = False
    #: Steps (after, upto) applied since it began to catch up.
    steps: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def at(cls, generation: Generation, applied: int, points: int | None) -> _Replica:
        return cls(generation, applied, points or 0, points is not None)


class ReplicationState:
    """Hold `lock` while a step is applied or a commit is put.

    The gate checks without the lock while the collections are `frozen`; a rollback, which makes
    another generation catch up, ends that at once.
    """

    def __init__(
        self, generations: Generations, changed: threading.Condition | None = None
    ) -> None:
        self.lock = self.changed = changed or threading.Condition()
        self.live: int | None = None
        self.catching_up: int | None = None
        #: Live waits for the generation that is catching up.
        self.gates_live = False
        self._generations = generations
        self._replicas: dict[int, _Replica] = {}
        self._serving: frozenset[int] = frozenset()
        #: Nothing is applied, so that the generation catching up can be checked.
        self._frozen = False

    @property
    def serving(self) -> list[Generation]:
        """Live and the retained one, as far as they follow; live first."""
        with self.lock:
            found = [self._replicas[n].generation for n in self._serving & set(self._replicas)]
            return sorted(found, key=lambda each: (each.number != self.live, each.number))

    def is_serving(self, serving: Set[int], live: int | None) -> bool:
        """Whether `set_serving` would change nothing."""
        with self.lock:
            following = self._replicas.keys() - {self.catching_up}
            settled = live is None or self.catching_up != live
            same = self.live == live and self._serving == serving
            return same and settled and following <= serving <= self._replicas.keys()

    def set_serving(self, serving: dict[int, Generation], live: int | None) -> None:
        """From now on these and the one catching up follow, no others."""
        with self.lock:
            for number in set(self._replicas) - set(serving) - {self.catching_up}:
                del self._replicas[number]
            for number, generation in serving.items():
                if number not in self._replicas:
                    self._replicas[number] = _Replica.at(
                        generation,
                        self._generations.applied(number),
                        self._generations.points(number),
                    )
            self.live, self._serving = live, frozenset(serving)
            if self.catching_up == live:
                self.clear()

    def start_catch_up(
        self, generation: Generation, applied: int | None = None, points: int | None = None
    ) -> None:
        """Makes the generation follow from `applied` on (None: from where it is), first in order.

        :param points: how many its collection holds there; None: unknown.
        """
        with self.lock:
            if applied is not None:
                self._replicas[generation.number] = _Replica.at(generation, applied, points)
            self._frozen &= self.catching_up == generation.number
            self.catching_up = generation.number
            self._update_gate()
            self.changed.notify_all()

    def clear(self) -> None:
        """No generation catches up any more: live no longer waits."""
        with self.lock:
            self.catching_up, self.gates_live, self._frozen = None, False, False
            self.changed.notify_all()

    def drop(self, number: int) -> None:
        """The generation no longer follows."""
        with self.lock:
            self._replicas.pop(number, None)
            if self.catching_up == number:
                self.clear()

    def ungate(self) -> None:
        """Live does not wait until the generation has caught up again."""
        with self.lock:
            self.gates_live = False

    @contextmanager
    def frozen(self, number: int) -> Iterator[None]:
        """Applies nothing to any generation meanwhile, as long as this one is catching up.

        :raises Conflict: if it is not, or ceased to be: discard what was seen.
        """
        with self.lock:
            self._frozen = self.catching_up == number
        try:
            self.check_frozen(number)
            yield
            self.check_frozen(number)
        finally:
            with self.lock:
                self._frozen = False
                self.changed.notify_all()

    def check_frozen(self, number: int) -> None:
        """:raises Conflict: if something may have been applied since `frozen` began."""
        if not (self._frozen and self.catching_up == number):
            raise Conflict(f"generation {number} no longer catches up: its validation is given up")

    @contextmanager
    def applying(self) -> Iterator[None]:
        """Holds the lock once nothing is frozen; for applying a step."""
        with self.lock:
            self.changed.wait_for(lambda: not self._frozen)
            yield

    def order(self) -> list[Generation]:
        """Those that follow: the one catching up, live, the others."""
        with self.lock:
            rank = {self.catching_up: 0, self.live: 1}
            numbers = sorted(self._replicas, key=lambda number: (rank.get(number, 2), -number))
            return [self._replicas[number].generation for number in numbers]

    def applied(self, number: int) -> int | None:
        """The corpus version that its collection holds; None if it does not follow."""
        replica = self._replicas.get(number)
        return replica.applied if replica else None

    def applied_or_recorded(self, number: int) -> int:
        """As `applied`; as the store records it if the generation does not follow."""
        applied = self.applied(number)
        return self._generations.applied(number) if applied is None else applied

    def points(self, number: int) -> int | None:
        """How many points its collection should hold at `applied`; None if unknown."""
        replica = self._replicas.get(number)
        return replica.points if replica and replica.points_known else None

    def applied_and_points(self, number: int) -> tuple[int, int] | None:
        """Both at one moment; where the points are unknown, only their change so far."""
        with self.lock:
            replica = self._replicas.get(number)
            return (replica.applied, replica.points) if replica else None

    def adjust_points(self, number: int, points: int) -> None:
        """Adds to what its collection should hold, which is known from now on."""
        with self.lock:
            if replica := self._replicas.get(number):
                replica.points += points
                replica.points_known = True

    def steps(self, number: int) -> list[tuple[int, int]]:
        """The steps (after, upto) taken while catching up. Call with the lock held."""
        return list(self._replicas[number].steps)

    def may_apply(self, number: int, upto: int) -> bool:
        """Whether a step to `upto` keeps the order: the one catching up, live, the retained one.

        A gateway that has not flipped yet answers with the retained one: if that were ahead of
        live, the flip would undo writes.
        """
        with self.lock:
            if number == self.catching_up or self.live is None:
                return True
            if number != self.live:
                return upto <= self.applied_or_recorded(self.live)
            return not self.gates_live or (
                self.catching_up is None or self._replicas[self.catching_up].applied >= upto
            )

    def advance(self, number: int, version: int, points: int = 0) -> None:
        """Notes that its collection holds every write up to `version`, and so many points more.

        Call with the lock held.
        """
        replica = self._replicas[number]
        replica.points += points
        if number == self.catching_up:
            replica.steps.append((replica.applied, version))
        replica.applied = version
        self._update_gate()
        self.changed.notify_all()

    def may_go_live(self, number: int) -> bool:
        """Whether a switch to it would lose no write. Ask with the lock held, and keep it."""
        mine = self.applied(number)
        return mine is not None and all(
            mine >= self._promised(each) for each in (number, self.live) if each is not None
        )

    def _promised(self, number: int) -> int:
        """What gateways may say that it has applied: also what was recorded though this process
        did not hear of it, as a put may succeed while its answer is lost."""
        return max(self.applied(number) or 0, self._generations.applied(number))

    def _update_gate(self) -> None:
        if self.catching_up in self._replicas:
            self.gates_live = self.gates_live or self.may_go_live(self.catching_up)
