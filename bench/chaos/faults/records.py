"""Records in the store are damaged: manifests, events, entries of `live/`, what is in `control/`.

Whoever has read a record keeps what it read; processes that start later must do without it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.chaos.faults.damaging import cut, damage, flip_bit
from bench.chaos.faults.kinds import Effects, FaultKind, LastingFault
from realm.records.controls import PAUSED, Controls
from realm.records.generation import generation_folder
from realm.records.generations import MANIFEST
from realm.records.json_records import numbered
from realm.records.states import ACTIVE

EVENTS_OF = 3


class RecordFault(FaultKind):
    """Targets are paths."""

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        hit = damage(self.scene.store, target, rng, flip_bit, cut)
        return Effects(paths=frozenset({target})) if hit else None


class DamageManifest(RecordFault, name="damage_manifest", weight=3):
    """Of live, of the retained generation, or of the one being built."""

    def targets(self) -> Sequence[str]:
        return [f"{generation_folder(number)}/{MANIFEST}" for number in self.scene.numbers(ACTIVE)]


class DamageEvent(RecordFault, name="damage_event", weight=3):
    """The newest one of a generation that was begun lately."""

    def targets(self) -> Sequence[str]:
        found = []
        for number in self.scene.generations.numbers()[-EVENTS_OF:]:
            events = self.scene.store.files(f"{generation_folder(number)}/events")
            found += [path for _, path in numbered(events, ".json")[-1:]]
        return found


class DamageLiveEntry(RecordFault, name="damage_live_entry", weight=3):
    """The newest one."""

    def targets(self) -> Sequence[str]:
        self.scene.generations.live_history()  # kept, for the judge to know what it said
        return [path for _, path in numbered(self.scene.store.files("live"), ".json")[-1:]]


class DamageControl(RecordFault, LastingFault, name="damage_control", weight=4, lasts=(5.0, 20.0)):
    """Anything in `control/`: terms and beats of leaders, pause, notes of damage. An unreadable
    pause counts as one, until an operator says again that there is none."""

    def targets(self) -> Sequence[str]:
        if not self.scene.store.exists(PAUSED):
            Controls(self.scene.store).pause(False, "chaos")
        newest = numbered(self.scene.store.files("control/leader"), ".json")[-1:]
        return [*self.scene.store.files("control"), *[path for _, path in newest] * 2]

    def end(self, target: str) -> None:
        if target == PAUSED:
            Controls(self.scene.store).pause(False, "chaos")


class Stray(FaultKind, name="stray", weight=3):
    """A kill between two calls, an editor, a file server leave what nobody asked for: an empty
    folder of a generation, half a file."""

    def targets(self) -> Sequence[str]:
        newest = max(self.scene.generations.numbers(), default=0)
        files = [
            f"{generation_folder(newest)}/events/000099.json.part",
            f"{generation_folder(newest)}/deltas/.nfs000000000000099",
            f"{generation_folder(newest)}/deltas/notes.txt",
            "live/notes.txt",
            "corpus/part-half-written",
            "corpus/_delta_log/.half.json.crc",
            "control/leader/000000000001.json~",
        ]
        folder = generation_folder(self.scene.generations.next_number())
        return files if self.scene.store.root is None else [*files, *[f"{folder}/events/"] * 3]

    def begin(self, target: str, rng: random.Random) -> Effects | None:
        if target.endswith("/"):
            assert self.scene.store.root
            self.scene.store.root.joinpath(target).mkdir(parents=True, exist_ok=True)
        else:
            self.scene.store.write(target, rng.randbytes(30))
        return Effects()
