"""Finds files in a store that are not ours, or are damaged. Readers skip them; this reports them.

It checks the folders that are read by file name, and the records that have checksums.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from realm.errors import Corrupt, NotFound
from realm.records.folder import PARTIAL, Entry
from realm.records.generation import Event, Generation, LiveEntry
from realm.records.keys import ApiKey, Revocation
from realm.records.leaders import Term
from realm.records.snapshots import Snapshot
from realm.records.store import Store

STRAY, DAMAGED = "stray", "damaged"
#: The files that belong in each folder.
OURS = [
    (folder, re.compile(rf"{folder}/(?:{names})", re.ASCII))
    for folder, names in (
        ("live", r"\d{8,}\.json"),
        ("generations", r"\d{8,}/(?!events/|applied/|deltas/).+"),
        ("generations", r"\d{8,}/events/\d{6,}\.json"),
        ("generations", r"\d{8,}/applied/\d{12,}"),
        ("generations", r"\d{8,}/deltas/\d{12,}-\d{12,}\.arrow"),
        ("snapshots", r"\d{8,}-[0-9a-f]+/.+|claims/\d{8,}\.claim|pins/\d{8,}\.json"),
        ("checkpoints", r"\d{10,}/.+|begun-with\.json"),
        ("control/leader", r"\d{12,}\.(?:json|beat|ended)"),
        ("control/refreshes", r"\d{8,}\.json"),
        ("refused", r"[0-9a-f]{16}\.json"),
        ("quarantine", r"[0-9a-f]{16}\.json"),
        ("keys", r"(?:revoked/)?[0-9a-f]{16}\.json"),
        ("passages", r".+/.+\.arrow"),
        ("vectors", r".+/.+\.arrow"),
        ("corpus", r"part-.+\.parquet|_delta_log/(?:\d{20}\.(?:json|checkpoint\.parquet)|_last.+)"),
    )
]
#: The type of each kind of record.
RECORDS: list[tuple[re.Pattern[str], type[Any]]] = [
    (re.compile(r"live/\d+\.json"), LiveEntry),
    (re.compile(r"generations/\d+/manifest\.json"), Generation),
    (re.compile(r"generations/\d+/events/\d+\.json"), Event),
    (re.compile(r"snapshots/\d+-[0-9a-f]+/manifest\.json"), Snapshot),
    (re.compile(r"control/leader/\d+\.json"), Term),
    (re.compile(r"keys/[0-9a-f]+\.json"), ApiKey),
    (re.compile(r"keys/revoked/[0-9a-f]+\.json"), Revocation),
]


@dataclass(frozen=True, slots=True)
class Stray:
    """A file or folder and what is wrong with it; `kind` is STRAY or DAMAGED."""

    path: str
    kind: str
    why: str


class Strays:
    """Scans a store; a sound file is read again only after it changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._whole: set[Entry] = set()

    def scan(self) -> list[Stray]:
        """Everything that readers skip, sorted by path. Changes nothing."""
        entries = self._store.entries("")
        found = [*self._hidden(), *self._without_manifest(entries)]
        for entry in entries:
            if _is_strange(entry.path):
                found.append(Stray(entry.path, STRAY, "it is none of ours"))
            elif entry not in self._whole:
                if why := self._fault(entry.path):
                    found.append(Stray(entry.path, DAMAGED, why))
                else:
                    self._whole.add(entry)
        self._whole &= set(entries)
        return sorted(found, key=lambda each: each.path)

    def _fault(self, path: str) -> str:
        for pattern, kind in RECORDS:
            if pattern.fullmatch(path):
                try:
                    self._store.read_record(path, kind)
                except Corrupt as error:
                    return error.message
                except NotFound:
                    return ""
        return ""

    def _without_manifest(self, entries: list[Entry]) -> list[Stray]:
        paths = {entry.path for entry in entries}
        folders = [f"generations/{name}" for name in self._store.folders("generations")]
        why = "a generation without a manifest"
        return [
            Stray(folder, STRAY, why)
            for folder in folders
            if f"{folder}/manifest.json" not in paths
        ]

    def _hidden(self) -> list[Stray]:
        root = self._store.root
        if root is None:
            return []
        paths = (path.relative_to(root).as_posix() for path in root.rglob(".*"))
        return [
            Stray(path, STRAY, "it is hidden")
            for path in paths
            if path.partition("/")[0] != PARTIAL
        ]


def _is_strange(path: str) -> bool:
    mine = [ours for folder, ours in OURS if path.startswith(f"{folder}/")]
    return bool(mine) and not any(ours.fullmatch(path) for ours in mine)
