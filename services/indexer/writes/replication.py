"""Which generations follow the writes and how far each is: shared by follower, gate and commit.

The order of invariant 3 lives here. Of the generations that follow, one may be *ahead*: the
loaded candidate, or the retained one while a rollback is asked for. Once it has caught up with
live it has *joined*, and live takes no step that it has not taken. So at any moment after that
`applied(ahead) ≥ applied(live)`, however steady the writes, and the switch needs no pause.
The others take no step that live has not taken.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from realm.errors import Conflict
from realm.records.generations import Generation, Generations


@dataclass(slots=True)
class _Place:
    generation: Generation
    applied: int
    #: How many its collection should hold, or by how many that has changed if nobody knows it.
    points: int = 0
    points_known: bool = False
    #: Steps applied since it was put ahead, as (after, upto).
    steps: list[tuple[int, int]] = field(default_factory=list)


class Following:
    """`lock` is held while a step is applied and while a commit is put. The gate looks without it,
    while the collections stand `still`: a rollback puts another one ahead, which ends that at once.
    """

    def __init__(self, generations: Generations) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._generations = generations
        self._places: dict[int, _Place] = {}
        self._serving: frozenset[int] = frozenset()
        self._live: int | None = None
        self._ahead: int | None = None
        self._joined = False
        #: Whether nothing is applied, for the sake of the one ahead.
        self._still = False

    @property
    def live(self) -> int | None:
        return self._live

    @property
    def ahead(self) -> int | None:
        return self._ahead

    @property
    def serving(self) -> list[Generation]:
        """Live and retained, as far as they follow."""
        with self.lock:
            found = [self._places[each].generation for each in self._serving & set(self._places)]
            return sorted(found, key=lambda each: (each.number != self._live, each.number))

    @property
    def joined(self) -> bool:
        """Whether live waits for the generation that is ahead."""
        return self._joined

    def keep(self, serving: dict[int, Generation], live: int | None) -> None:
        """These, and the one ahead, follow from now on; others do no longer."""
        with self.lock:
            for number in set(self._places) - set(serving) - {self._ahead}:
                del self._places[number]
            for number, generation in serving.items():
                if number not in self._places:
                    applied = self._generations.applied(number)
                    points = self._generations.points(number)
                    known = points is not None
                    self._places[number] = _Place(generation, applied, points or 0, known)
            self._live, self._serving = live, frozenset(serving)
            if self._ahead == live:
                self.settle()

    def put_ahead(
        self, generation: Generation, applied: int | None = None, points: int | None = None
    ) -> None:
        """The generation follows from `applied` on (None: from where it is) and goes first.

        :param points: how many its collection holds there; None: nobody knows.
        """
        with self.lock:
            if applied is not None:
                known = points is not None
                place = _Place(generation, applied, points or 0, known)
                self._places[generation.number] = place
            self._still &= self._ahead == generation.number
            self._ahead = generation.number
            self._join()
            self.changed.notify_all()

    def settle(self) -> None:
        """Nobody goes ahead any more: live goes on alone."""
        with self.lock:
            self._ahead, self._joined, self._still = None, False, False
            self.changed.notify_all()

    def drop(self, number: int) -> None:
        """The generation does not follow any more."""
        with self.lock:
            self._places.pop(number, None)
            if self._ahead == number:
                self.settle()

    def release(self) -> None:
        """Live need not wait until the generation ahead has caught up again."""
        with self.lock:
            self._joined = False

    @contextmanager
    def still(self, number: int) -> Iterator[None]:
        """Nothing is applied meanwhile, to any generation, as long as this one is ahead.

        :raises Conflict: if it is not, or was not to the end: what was seen counts for nothing.
        """
        with self.lock:
            self._still = self._ahead == number
        try:
            self.check_still(number)
            yield
            self.check_still(number)
        finally:
            with self.lock:
                self._still = False
                self.changed.notify_all()

    def check_still(self, number: int) -> None:
        """:raises Conflict: if something may have been applied since they began to stand still."""
        if not (self._still and self._ahead == number):
            raise Conflict(f"generation {number} is not ahead any more: its validation is given up")

    @contextmanager
    def moving(self) -> Iterator[None]:
        """The lock, when nobody wants things to stand still: for whoever applies a step."""
        with self.lock:
            self.changed.wait_for(lambda: not self._still)
            yield

    def order(self) -> list[Generation]:
        """Those that follow: the one ahead, live, the others."""
        with self.lock:
            rank = {self._ahead: 0, self._live: 1}
            numbers = sorted(self._places, key=lambda number: (rank.get(number, 2), -number))
            return [self._places[number].generation for number in numbers]

    def applied(self, number: int) -> int | None:
        """The corpus version that its collection holds; None if it does not follow."""
        place = self._places.get(number)
        return place.applied if place else None

    def points(self, number: int) -> int | None:
        """How many points its collection should hold at `applied`; None if nobody knows."""
        place = self._places.get(number)
        return place.points if place and place.points_known else None

    def since(self, number: int) -> tuple[int, int] | None:
        """The version applied, and the points there or by how many they have changed."""
        with self.lock:
            place = self._places.get(number)
            return (place.applied, place.points) if place else None

    def correct(self, number: int, points: int) -> None:
        """So many points more than was thought are what its collection should hold."""
        with self.lock:
            if place := self._places.get(number):
                place.points += points
                place.points_known = True

    def steps(self, number: int) -> list[tuple[int, int]]:
        """The steps (after, upto) that the generation ahead took. Call with the lock held."""
        return list(self._places[number].steps)

    def may_apply(self, number: int, upto: int) -> bool:
        """Whether a step to `upto` keeps the order: the one ahead, live, the retained one.

        A gateway that has not flipped yet answers with the retained one: if that ran ahead of
        live, its flip would take writes back.
        """
        with self.lock:
            if number == self._ahead or self._live is None:
                return True
            if number != self._live:
                return upto <= self._applied_by_live(self._live)
            return not self._joined or (
                self._ahead is None or self._places[self._ahead].applied >= upto
            )

    def advance(self, number: int, version: int, points: int = 0) -> None:
        """Its collection holds every write up to `version` now, and so many points more. Call with
        the lock held."""
        place = self._places[number]
        place.points += points
        if number == self._ahead:
            place.steps.append((place.applied, version))
        place.applied = version
        self._join()
        self.changed.notify_all()

    def may_go_live(self, number: int) -> bool:
        """Whether the switch would lose no write. Ask with the lock held, and keep it."""
        mine = self.applied(number)
        if mine is None or mine < self._generations.applied(number):
            return False
        if self._live is None:
            return True
        return mine >= self._applied_by_live(self._live)

    def _applied_by_live(self, live: int) -> int:
        applied = self.applied(live)
        return self._generations.applied(live) if applied is None else applied

    def _join(self) -> None:
        if self._ahead in self._places:
            self._joined = self._joined or self.may_go_live(self._ahead)
