"""The collection of an active generation is lost, or some of its points."""

from __future__ import annotations

import random
from collections.abc import Sequence

import grpc
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.chaos.faults.kinds import Effects, FaultKind
from bench.points import delete_points, read_points
from realm.errors import DependencyUnavailable, RealmError
from realm.records.states import ACTIVE
from realm.search.vector_index import open_index
from realm.settings import load_settings

#: Share of its points that a collection loses.
LOST_SHARE = 0.3
#: The longest that Qdrant takes to restart.
QDRANT_BACK_SECONDS = 60.0

once_qdrant_is_back = retry(
    retry=retry_if_exception_type(RealmError),
    stop=stop_after_delay(QDRANT_BACK_SECONDS),
    wait=wait_fixed(0.3),
    reraise=True,
)


class Loss(FaultKind):
    """Targets are generations: live half the time, else the retained one or the one being built."""

    def targets(self) -> Sequence[str]:
        others = [str(number) for number in self.scene.numbers(ACTIVE)]
        live = self.scene.generations.live()
        return [*others, *[str(live.generation)] * max(0, len(others) - 2)] if live else others

    def collection(self, target: str) -> str:
        return self.scene.generations.get(int(target)).collection


class LoseCollection(Loss, name="lose_collection", weight=3):
    @once_qdrant_is_back
    def begin(self, target: str, rng: random.Random) -> Effects | None:
        index = open_index(load_settings(qdrant_url=self.scene.cluster.qdrant_url))
        try:
            index.drop(self.collection(target))
        finally:
            index.close()
        return Effects(generation=int(target))


class LosePoints(Loss, name="lose_points", weight=3):
    @once_qdrant_is_back
    def begin(self, target: str, rng: random.Random) -> Effects | None:
        url, collection = self.scene.cluster.qdrant_url, self.collection(target)
        try:
            ids = read_points(url, collection).ids
            delete_points(url, collection, rng.sample(ids, round(LOST_SHARE * len(ids))))
        except grpc.RpcError as error:  # it may be stopped for longer than is waited for here
            raise DependencyUnavailable(f"Qdrant does not give points: {error}") from error
        return Effects(generation=int(target))
