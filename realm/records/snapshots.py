"""Snapshots: immutable sets of parameters, numbered in the order of publication; and how far one
lags behind the newest.

A snapshot is a folder whose `manifest.json` is put last; without it the snapshot does not exist.
A pin is a file beside them: a pinned snapshot is never deleted.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import structlog

from realm.errors import Conflict, Corrupt, NotFound
from realm.records.json_records import KnownRecords, numbered
from realm.records.store import Store, file_sha256

MANIFEST = "manifest.json"
CLAIMS = "snapshots/claims"
PINS = "snapshots/pins"
#: Ends the claim for a snapshot that derives from none in the store.
NO_PARENT = b" no parent"
NAME = re.compile(r"\d{8,}-[0-9a-f]+", re.ASCII)

ReadT = TypeVar("ReadT")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `manifest.json` says. `created_at` is Unix time in seconds."""

    number: int
    digest: str
    step: int
    created_at: float
    parent: int | None
    fingerprint: str
    vector_size: int
    files: dict[str, SnapshotFile]
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return f"snapshots/{self.name}"

    @property
    def name(self) -> str:
        return f"{self.number:08d}-{self.digest}"


class Snapshots:
    """Publishes and finds snapshots. Manifests are immutable, so each is read once; a snapshot
    whose manifest is damaged is skipped and logged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._manifests = KnownRecords(
            store, Snapshot, "snapshot_set_aside", lambda each: f"{each.folder}/{MANIFEST}"
        )

    def publish(
        self,
        folder: Path,
        *,
        step: int,
        fingerprint: str,
        vector_size: int,
        parent: int | None = None,
        metrics: dict[str, float] | None = None,
        unless: Callable[[int], bool] = lambda number: False,
    ) -> Snapshot:
        """Puts every file of a local folder and then the manifest, under the next number.

        :param unless: asked with the number once it is claimed: who claims a higher one comes
            after this.
        :raises Conflict: if it is so; nothing is put then.
        """
        files = {
            path.name: SnapshotFile(file_sha256(path), path.stat().st_size)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name != MANIFEST
        }
        described = "".join(f"{name}{file.sha256}" for name, file in files.items())
        number = self._claim_number(parent)
        if unless(number):
            raise Conflict(f"snapshot {number} is not put: another one goes before it")
        snapshot = Snapshot(
            number=number,
            digest=hashlib.sha256(described.encode()).hexdigest()[:12],
            step=step,
            created_at=time.time(),
            parent=parent,
            fingerprint=fingerprint,
            vector_size=vector_size,
            files=files,
            metrics=metrics or {},
        )
        for name in files:
            self._store.write(f"{snapshot.folder}/{name}", (folder / name).read_bytes())
        # It exists from now on, however long its files took.
        snapshot = replace(snapshot, created_at=time.time())
        self._store.create_json(f"{snapshot.folder}/{MANIFEST}", asdict(snapshot))
        return snapshot

    def being_put(self, after: int) -> list[int]:
        """Numbers beyond `after` that were claimed for a snapshot without a parent and are not
        there yet: its publisher is putting it, or died meanwhile."""
        claims = numbered(self._store.files(CLAIMS), ".claim")
        there = {each.number for each in self.all()}
        return [
            number
            for number, path in claims
            if number > after and number not in there and self._store.read(path).endswith(NO_PARENT)
        ]

    def all(self) -> list[Snapshot]:
        """All complete snapshots, oldest first."""
        return [found for name in self._names() if (found := self._read(name)) is not None]

    def newest(self) -> Snapshot | None:
        found = (self._read(name) for name in reversed(self._names()))
        return next((each for each in found if each is not None), None)

    def get(self, number: int) -> Snapshot:
        """:raises NotFound:"""
        for name in self._names():
            if name.startswith(f"{number:08d}-") and (found := self._read(name)) is not None:
                return found
        raise NotFound(f"snapshot {number} is not in the store", snapshot=number)

    def materialise(self, snapshot: Snapshot, names: tuple[str, ...] | None = None) -> Path:
        """A local folder with the snapshot's files (or those named), checksums verified.

        :raises Corrupt: naming the file that is missing or altered.
        """
        wanted = names or tuple(snapshot.files)
        folder: Path | None = None
        for name in wanted:
            if name not in snapshot.files:
                continue
            folder = self._gather(snapshot, name, _checked(self._store.local, snapshot, name))
        if folder is None:
            raise Corrupt(f"snapshot {snapshot.number} has none of {', '.join(wanted)}")
        return folder

    def verify(self, snapshot: Snapshot) -> None:
        """Reads every file.

        :raises Corrupt: naming the file that is missing or altered.
        """
        for name in snapshot.files:
            _checked(self._store.verify, snapshot, name)

    def delete(self, snapshot: Snapshot) -> None:
        """The manifest goes first, so that no reader meets half a snapshot."""
        self._store.delete(f"{snapshot.folder}/{MANIFEST}")
        self._store.delete_folder(snapshot.folder)
        self._manifests.known.pop(f"{snapshot.folder}/{MANIFEST}", None)

    def pin(self, number: int, why: str = "") -> None:
        """The snapshot stays until it is unpinned, whatever refers to it.

        :raises NotFound: if there is no such snapshot.
        """
        self.get(number)
        self._store.write_json(_pin_file(number), {"why": why, "at": time.time()})

    def unpin(self, number: int) -> None:
        """One that is not pinned is no error."""
        self._store.delete(_pin_file(number))

    def pinned(self) -> dict[int, str]:
        """Why, by number."""
        return {
            number: self._why(path) for number, path in numbered(self._store.files(PINS), ".json")
        }

    def _why(self, path: str) -> str:
        """A pin that cannot be read pins all the same."""
        try:
            return str(self._store.read_json(path)["why"])
        except (Corrupt, KeyError, TypeError):
            return ""

    def _gather(self, snapshot: Snapshot, name: str, copy: Path) -> Path:
        """Remote copies are named by checksum; link them under their names into one folder."""
        if copy.name == name:
            return copy.parent
        folder = copy.parents[1] / snapshot.name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            (folder / name).symlink_to(copy)
        return folder

    def _claim_number(self, parent: int | None) -> int:
        """The claim file makes two publishers at once take two numbers."""
        content = uuid.uuid4().hex.encode() + (NO_PARENT if parent is None else b"")
        taken = [number for number, _ in numbered(self._store.files(CLAIMS), ".claim")]
        number = max(taken, default=0) + 1
        while True:
            try:
                self._store.create(f"{CLAIMS}/{number:08d}.claim", content)
            except Conflict:
                number += 1
            else:
                return number

    def _read(self, name: str) -> Snapshot | None:
        return self._manifests.find(f"snapshots/{name}/{MANIFEST}")

    def _names(self) -> list[str]:
        return [name for name in self._store.folders("snapshots") if NAME.fullmatch(name)]


def _checked(read: Callable[[str, str], ReadT], snapshot: Snapshot, name: str) -> ReadT:
    """What `read` makes of a file's path and checksum.

    :raises Corrupt: if the file is missing, or altered.
    """
    path = f"{snapshot.folder}/{name}"
    try:
        return read(path, snapshot.files[name].sha256)
    except NotFound as error:
        raise Corrupt(f"snapshot {snapshot.number} lacks {name}", file=path) from error


def _pin_file(number: int) -> str:
    return f"{PINS}/{number:08d}.json"


@dataclass(frozen=True, slots=True)
class Lag:
    """`since`: Unix time of the oldest newer snapshot's publication; None: this is the newest."""

    steps: int = 0
    since: float | None = None

    def seconds(self, now: float) -> float:
        return 0.0 if self.since is None else max(0.0, now - self.since)


def lag_behind(published: Iterable[Snapshot], number: int, step: int) -> Lag:
    """The lag of the snapshot `number`, trained to `step`.

    :param published: snapshots in the order of their numbers.
    """
    newer = [each for each in published if each.number > number]
    if not newer:
        return Lag()
    return Lag(steps_behind(newer[-1].step, step), min(each.created_at for each in newer))


def steps_behind(newest: int, step: int) -> int:
    """Never negative: a trainer that went back to an older step publishes a newer snapshot."""
    return max(0, newest - step)
