"""Refusals: an embedder that cannot use what it was given writes down why; the indexer reads it
and has the damaged file made again. Without it the indexer would wait for vectors for ever.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass

from realm.errors import NotFound, RealmError
from realm.store import Store

FOLDER = "refused"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task's arguments, the damaged file (in the store, if it is one) and what is wrong."""

    snapshot: int
    input_file: str
    output_file: str
    file: str
    why: str
    at: float

    @property
    def blames_input(self) -> bool:
        """Else it is the snapshot."""
        return self.file == self.input_file


def refuse(
    store: Store, *, snapshot: int, input_file: str, output_file: str, error: RealmError
) -> None:
    file = error.details.get("file", "")
    refusal = Refusal(snapshot, input_file, output_file, file, error.message, time.time())
    store.write_json(_path(output_file), asdict(refusal))


def refusal_of(store: Store, output_file: str) -> Refusal | None:
    try:
        return Refusal(**store.read_json(_path(output_file)))
    except NotFound:
        return None


def forgive(store: Store, output_file: str) -> None:
    """The task may be tried again, or was done."""
    store.delete(_path(output_file))


def refusals(store: Store) -> list[Refusal]:
    found = [store.read_json(path) for path in store.files(FOLDER)]
    return [Refusal(**each) for each in found]


def _path(output_file: str) -> str:
    return f"{FOLDER}/{hashlib.sha256(output_file.encode()).hexdigest()[:16]}.json"
