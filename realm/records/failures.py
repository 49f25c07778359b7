"""Failures of embedding tasks, noted in the store.

An embedder that cannot use its input writes down why; the indexer reads the note and has the
damaged file made again. Without it the indexer would wait for the vectors forever. A task that
kills its workers is put in quarantine, which is noted here too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TypeVar

from realm.errors import Corrupt, NotFound, RealmError
from realm.records.store import Store

FOLDER = "refused"
QUARANTINE = "quarantine"
KILLED = "embedding it killed the embedders"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task's arguments, the damaged file (in the store, if it is one) and what is wrong."""

    snapshot: int
    input_file: str
    output_file: str
    file: str
    why: str
    at: float

    @property
    def blames_input(self) -> bool:
        """The file: it is damaged, and made again."""
        return self.file == self.input_file

    @property
    def blames_content(self) -> bool:
        """No file is damaged: it is what they say. Else the snapshot is to blame."""
        return not self.file


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A task that is not tried again; `deliveries` is how many workers died of it."""

    snapshot: int
    input_file: str
    output_file: str
    deliveries: int
    at: float


def record_failure(
    store: Store, *, snapshot: int, input_file: str, output_file: str, error: RealmError
) -> None:
    file = error.details.get("file", "")
    failure = TaskFailure(snapshot, input_file, output_file, file, error.message, time.time())
    store.write_json(failure_file(output_file), asdict(failure))


def failure_of(store: Store, output_file: str) -> TaskFailure | None:
    try:
        return store.read_record(failure_file(output_file), TaskFailure)
    except (NotFound, Corrupt):
        return None


def clear_failure(store: Store, output_file: str) -> None:
    """The task may be tried again, or was done."""
    store.delete(failure_file(output_file))


def failures(store: Store) -> list[TaskFailure]:
    return list(_notes(store, FOLDER, TaskFailure))


def quarantine_file(output_file: str) -> str:
    return f"{QUARANTINE}/{_name(output_file)}"


def quarantine(
    store: Store, *, snapshot: int, input_file: str, output_file: str, deliveries: int
) -> None:
    """Keeps a task from being tried again until the file written here is deleted."""
    note = Quarantined(snapshot, input_file, output_file, deliveries, time.time())
    store.write_json(quarantine_file(output_file), asdict(note))


def is_quarantined(store: Store, output_file: str) -> bool:
    return store.exists(quarantine_file(output_file))


class Faults:
    """What stands against tasks, as found by two lists however many tasks are asked about, each
    made when it is needed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @cached_property
    def _failed(self) -> set[str]:
        return set(self._store.files(FOLDER))

    @cached_property
    def _quarantined(self) -> set[str]:
        return set(self._store.files(QUARANTINE))

    def failure_of(self, output_file: str) -> TaskFailure | None:
        """As noted, unless it is cleared meanwhile."""
        noted = failure_file(output_file) in self._failed
        return failure_of(self._store, output_file) if noted else None

    def of_content(self, output_file: str) -> str:
        """Why embedders do not get through with the work, if what they were given may be to
        blame."""
        failure = self.failure_of(output_file)
        if failure is not None and failure.blames_content:
            return failure.why
        return KILLED if quarantine_file(output_file) in self._quarantined else ""


def faults_of_content(store: Store) -> dict[str, str]:
    """All such faults, by the output files of the work."""
    found = {each.output_file: each.why for each in failures(store) if each.blames_content}
    return found | dict.fromkeys(quarantined(store), KILLED)


def quarantined(store: Store) -> dict[str, int]:
    """The output files of the work that stands in quarantine, with its snapshots."""
    notes = _notes(store, QUARANTINE, Quarantined)
    return {each.output_file: each.snapshot for each in notes}


def allow_retry(store: Store, output_file: str) -> None:
    """Nothing is held against the task any more."""
    clear_failure(store, output_file)
    store.delete(quarantine_file(output_file))


def failure_file(output_file: str) -> str:
    return f"{FOLDER}/{_name(output_file)}"


def _notes(store: Store, folder: str, kind: type[T]) -> Iterator[T]:
    for path in store.files(folder):
        with suppress(NotFound, Corrupt):  # cleared meanwhile, or none of ours
            yield store.read_record(path, kind)


def _name(output_file: str) -> str:
    return f"{hashlib.sha256(output_file.encode()).hexdigest()[:16]}.json"
