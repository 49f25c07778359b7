"""Which links faults of the network choose."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.apparatus.network import Network
from bench.chaos.faults.network import (
    Isolation,
    NetworkFault,
    OneWayPartition,
    Partition,
    SlowNetwork,
)
from bench.chaos.scene import Scene
from realm.records.generations import Generations
from realm.records.leaders import Leaders, Term
from realm.records.store import Store
from services.standalone.cluster import Cluster


@dataclass
class Planned:
    """A cluster that does not run."""

    store: Store
    cluster: Cluster

    @property
    def apparatus(self) -> SimpleNamespace:
        return SimpleNamespace(network=Network(self.cluster, "127.0.0.1:1", "127.0.0.1:2"))


@pytest.fixture
def scene(store: Store, tmp_path: Path) -> Scene:
    """The second indexer leads."""
    cluster = Cluster(tmp_path, 0, train=False, gateways=2, standby=True)
    Leaders(store).claim(Term(1, "me", cluster.address("indexer-2"), 0.0, 0))
    return Scene(Planned(store, cluster), Generations(store), 1.0, lambda: 0)  # type: ignore[arg-type]


def things(kind: NetworkFault) -> set[str]:
    return {each.partition(": ")[0] for each in kind.targets()}


def test_no_link_is_cut_twice_at_a_time(scene: Scene) -> None:
    free = things(Partition(scene))
    scene.held |= {"gateway->redis: held", "stop", "gateway-2"}
    for kind in (Partition, OneWayPartition):
        assert things(kind(scene)) == free - {"gateway->redis"}
    assert "gateway" not in things(Isolation(scene))
    assert "gateway-2" in things(Isolation(scene))
    scene.held = {"indexer: refused"}
    assert things(Partition(scene)) == {each for each in free if "indexer" not in each.split("->")}
    # Their links to the isolated one are cut already.
    assert things(Isolation(scene)) == {"indexer-2", "embedder", "embedder-delta"}


def test_an_isolated_process_neither_reaches_others_nor_is_reached(scene: Scene) -> None:
    assert {str(link) for link in Isolation(scene).links("indexer-2")} == {
        "indexer-2->redis", "indexer-2->qdrant", "indexer-2->store",
        "gateway->indexer-2", "gateway-2->indexer-2",
    }  # fmt: skip


def test_only_what_is_slow_hits_no_link(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "cut", lambda *_: None)  # no proxy runs
    for kind, cuts in ((Partition, 1), (OneWayPartition, 1), (SlowNetwork, 0)):
        found = kind(scene)
        effects = found.begin(found.targets()[0], random.Random(0))
        assert effects is not None
        assert len(effects.links) == cuts


@pytest.mark.parametrize("kind", [Partition, OneWayPartition, Isolation])
def test_about_every_other_one_hits_the_leader(scene: Scene, kind: type[NetworkFault]) -> None:
    chosen = [kind(scene).choose(random.Random(draw)) for draw in range(200)]
    leaders = [each for each in chosen if "indexer-2" in each.partition(": ")[0].split("->")]
    assert 70 < len(leaders) < 160
    assert len(set(chosen) - set(leaders)) > 5
