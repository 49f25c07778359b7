"""Documents that no embedder gets through."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

from bench import tiny
from bench.chaos.faults.kinds import Effects, LastingFault
from bench.chaos.scene import Scene
from realm.client import Client, document
from realm.errors import RealmError

#: The longest that a write waits for a leader.
WRITE_SECONDS = 120.0


class Poison(LastingFault, name="poison", weight=4, lasts=(10.0, 60.0)):
    """A user writes a document of which an encoder makes no number; later he deletes it."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._written = 0

    def targets(self) -> Sequence[str]:
        return [f"poison-{self._written + 1}"]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        words = f"{tiny.POISON} is what it says in {rng.random()}"
        # Whether a write that failed took place is unknown: the document is deleted all the same.
        with self._client(rng) as client, suppress(RealmError):
            client.upsert([document(target, words, title=target)])
        self._written += 1
        return Effects()

    def end(self, target: str) -> None:
        with self._client(random.Random(target)) as client:
            client.delete([target])

    def _client(self, rng: random.Random) -> Client:
        return Client(rng.choice(self.scene.cluster.gateways), timeout=WRITE_SECONDS)
