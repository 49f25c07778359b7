"""Another's model: waited for while it may become live, followed once it is, else passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.errors import DependencyUnavailable
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.states import State
from realm.records.store import Store
from services.trainer.other_models import PATIENCE_SECONDS, OtherModels
from tests.waiting import until

#: Above the number of any snapshot here.
NEXT = 1000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Cluster:
    """What a trainer's store holds: its own first snapshot, and what others put beside it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        (folder / "reader.safetensors").write_bytes(b"weights")
        self.generations = Generations(store)
        self.clock = Clock()
        self.first = self.publish()
        self.others = OtherModels(store, self.first.number, self.clock)

    def publish(self, parent: int | None = None) -> Snapshot:
        return Snapshots(self.store).publish(
            self.folder, step=0, fingerprint="f", vector_size=4, parent=parent
        )

    def build(self, snapshot: Snapshot, *states: State) -> int:
        number = self.generations.next_number()
        self.generations.create(
            Generation(number, snapshot.number, 0, 1, "f", 4, (), f"c-{number}", 0.0, "test")
        )
        for state in (State.BUILDING, *states):
            self.generations.record(number, state, "test")
        return number

    def go_live(self, snapshot: Snapshot) -> None:
        number = self.build(snapshot)
        self.generations.commit(number, after=self.generations.live(), by="test", why="test")


@pytest.fixture
def cluster(store: Store, tmp_path: Path) -> Cluster:
    folder = tmp_path / "model"
    folder.mkdir()
    return Cluster(store, folder)


def test_without_another_nothing_is_waited_for_or_followed(cluster: Cluster) -> None:
    cluster.go_live(cluster.first)
    cluster.go_live(cluster.publish(parent=cluster.first.number))
    assert not cluster.others.on_the_way(NEXT)
    assert cluster.others.live() is None


def test_a_training_does_not_wait_for_its_own_first_snapshot(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "reader.safetensors").write_bytes(b"weights")
    others = OtherModels(store, 0)
    waited = []

    def on_the_way(number: int) -> bool:
        waited.append(others.on_the_way(number))
        return False

    for _ in range(2):
        published = Snapshots(store).publish(
            folder, step=0, fingerprint="f", vector_size=4, unless=on_the_way
        )
        others.began_with(published.number)
    assert waited == [False, False]


def test_another_is_waited_for_until_it_is_live_and_then_followed(cluster: Cluster) -> None:
    other = cluster.publish()
    assert cluster.others.on_the_way(NEXT)
    cluster.build(other, State.VALIDATING)
    cluster.clock.now = 10 * PATIENCE_SECONDS
    assert cluster.others.on_the_way(NEXT)
    assert cluster.others.live() is None
    cluster.go_live(other)
    assert cluster.others.live() == other
    assert until(cluster.others.poll, "the model is found between steps") == other


def test_what_the_gate_refuses_is_passed_over(cluster: Cluster) -> None:
    cluster.build(cluster.publish(), State.REJECTED)
    assert not cluster.others.on_the_way(NEXT)
    assert cluster.others.live() is None


def test_what_is_abandoned_is_waited_for_a_while(cluster: Cluster) -> None:
    cluster.build(cluster.publish(), State.ABANDONED)
    assert cluster.others.on_the_way(NEXT)
    cluster.clock.now += PATIENCE_SECONDS + 1
    assert not cluster.others.on_the_way(NEXT)


def test_one_that_is_being_put_is_waited_for_a_while(cluster: Cluster) -> None:
    changes = [0]

    def dies() -> None:
        changes[0] += 1
        if changes[0] > 1:  # its number is claimed, and no file is there
            raise DependencyUnavailable("the publisher was killed")

    whole, cluster.store = cluster.store, cluster.store.guarded(dies)
    with pytest.raises(DependencyUnavailable):
        cluster.publish()
    assert Snapshots(whole).all() == [cluster.first]
    assert cluster.others.on_the_way(NEXT)
    cluster.clock.now += PATIENCE_SECONDS + 1
    assert not cluster.others.on_the_way(NEXT)


def test_a_training_s_own_publication_is_not_another_s(cluster: Cluster) -> None:
    def seen() -> None:
        waited.append(cluster.others.on_the_way(NEXT))

    waited: list[bool] = []
    cluster.store = cluster.store.guarded(seen)
    cluster.publish(parent=cluster.first.number)
    assert len(waited) > 2
    assert not any(waited)


def test_a_damaged_model_is_passed_over(cluster: Cluster) -> None:
    other = cluster.publish()
    cluster.go_live(other)
    cluster.store.write(f"{other.folder}/reader.safetensors", b"other weights")
    assert cluster.others.live() is None
    assert not cluster.others.on_the_way(NEXT)
