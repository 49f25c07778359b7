"""What must hold whatever happens: checked at every change of store and Qdrant, at every flip of a
gateway and at every search. It knows nothing of the product but the formats of what it stores."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow.parquet as pq

from bench.simulation.qdrant import Qdrant
from bench.simulation.storage import Disk

COMMITTED = re.compile(r"live/(\d{8})\.json")
CORPUS = re.compile(r"corpus/_delta_log/(\d{20})\.json")
MANIFEST = re.compile(r"generations/(\d{8})/manifest\.json")
EVENT = re.compile(r"generations/(\d{8})/events/(\d{6})\.json")
APPLIED = re.compile(r"generations/(\d{8})/applied/(\d{12})")
DAMAGED = re.compile(r"control/damaged/(\d{8})\.json")
CLAIM = re.compile(r"control/leader/(\d{12})\.json")
COLUMNS = ["version", "op", "document_id", "request_id"]
SERVED = frozenset({"live", "retained"})


#: Rare states that an event tells of: its state, a part of why, and what has been reached.
TURNS = {
    ("rejected", ""): "a build is rejected",
    ("deleted", ""): "a retired index is deleted",
    ("abandoned", "another generation went live"): "a build is given up: another went live",
    ("abandoned", "another indexer leads"): "a build is given up: its leader was lost",
    ("abandoned", "live is damaged"): "a build is given up: live is damaged",
    ("abandoned", "they are parked"): "a build is given up: a document of it was parked",
    ("retired", "it is damaged"): "a damaged index is retired",
}


class Violation(Exception):
    """An invariant does not hold."""


@dataclass(slots=True)
class Index:
    """A generation, as the store tells of it. `was_empty`: its collection held nothing at some
    moment since its validation began."""

    manifest: dict[str, Any]
    states: list[tuple[str, str]] = field(default_factory=list)
    applied: int = 0
    was_empty: bool = False

    @property
    def state(self) -> str:
        return self.states[-1][0] if self.states else ""

    @property
    def words_alone(self) -> bool:
        return not self.manifest["vector_size"]


@dataclass
class Oracle:
    """`rows` are those of the corpus: by document, the versions that wrote it, and whether it is
    there since; `reached` counts rare states."""

    disk: Disk
    qdrant: Qdrant
    rows: dict[str, list[tuple[int, bool]]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    version: int = -1
    live: list[dict[str, Any]] = field(default_factory=list)
    indexes: dict[int, Index] = field(default_factory=dict)
    data_files: set[str] = field(default_factory=set)
    parked: set[tuple[str, int]] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    #: Changed by a leader of the past, or by somebody with Qdrant's key: not to be trusted.
    tainted: set[int] = field(default_factory=set)
    poor: set[int] = field(default_factory=set)
    reached: Counter[str] = field(default_factory=Counter)
    term: int = 0
    #: None before this term commits any more: a later leader has begun to lead.
    floor: int = 0
    #: Called with a generation that went live.
    on_live: Callable[[int], None] = lambda number: None
    #: The term that the process believes to lead, if it is an indexer; None: it is none.
    term_of_caller: Callable[[], int | None] = lambda: None

    def copy(self, disk: Disk, qdrant: Qdrant) -> Oracle:
        return Oracle(
            disk,
            qdrant,
            {name: list(rows) for name, rows in self.rows.items()},
            dict(self.requests),
            self.version,
            list(self.live),
            {n: replace(i, states=list(i.states)) for n, i in self.indexes.items()},
            set(self.data_files),
            poor=set(self.poor),
            term=self.term,
        )

    def reach(self, state: str) -> None:
        self.reached[state] += 1

    def stored(self, verb: str, path: str) -> None:
        """A file was created, written or deleted."""
        if verb == "delete":
            self._deleted(path)
            return
        top = path.split("/", 1)[0]
        if top == "live":
            self._committed(verb, path)
        elif top == "corpus" and (found := CORPUS.fullmatch(path)):
            self._appended(verb, path, int(found[1]))
        elif top == "generations":
            self._told_of_generation(verb, path)
        elif top == "control":
            self._told_of_control(path)
        elif top == "parked":
            self.parked.add(_parked(self.disk.files[path]))
            self.reach("a document is parked")
        elif top == "quarantine":
            self.reach("a task is in quarantine")

    def refused(self, path: str) -> None:
        """A conditional put met a file."""
        if not self._caller_is_deposed():
            return
        if path.startswith("live/"):
            self.reach("a deposed leader's commit is refused")
        elif CORPUS.fullmatch(path):
            self.reach("a deposed leader's write is refused")

    def indexed(self, verb: str, name: str) -> None:
        """A collection changed."""
        number = int(name.rpartition("-")[2])
        index = self.indexes.get(number)
        served = self._is_served(number)
        if verb in ("drop", "replace"):
            if served:
                raise Violation(f"{name}, which is {index and index.state}, was dropped")
            if verb == "replace" and index and index.applied > index.manifest["corpus_version"]:
                self.reach("a build is loaded anew that was recorded to be further")
            return
        self._note_emptiness(index)
        term = self.term_of_caller()
        if term is None or term < self.term:
            self.reach("a collection is changed after its leader's term")
            self.tainted.add(number)
        if served and index is not None:
            self.check_content(number, index.applied)

    def _note_emptiness(self, index: Index | None) -> None:
        if index is not None and index.state == "validating":
            collection = index.manifest["collection"]
            index.was_empty |= not self.qdrant.collections.get(collection)

    def _is_served(self, number: int) -> bool:
        index = self.indexes.get(number)
        return number == self.live_number or (index is not None and index.state == "retained")

    def check_content(self, number: int, version: int) -> None:
        """Whether a collection holds every write up to a version."""
        if number in self.tainted or number in self.damaged:
            return
        name = f"passages-{number:08d}"
        if name not in self.qdrant.collections:
            raise Violation(f"generation {number} claims version {version} without a collection")
        present: dict[str, set[int]] = {}
        for point in self.qdrant.collections[name].values():
            present.setdefault(point.document_id, set()).add(point.version)
        for document, rows in self.rows.items():
            self._check_document(number, version, document, rows, present.get(document, set()))
        if unknown := present.keys() - self.rows.keys():
            raise Violation(f"generation {number} holds {unknown}, which nobody wrote")

    def _check_document(
        self,
        number: int,
        version: int,
        document: str,
        rows: list[tuple[int, bool]],
        present: set[int],
    ) -> None:
        known = [row for row in rows if row[0] <= version]
        later = {row[0] for row in rows if row[0] > version}
        wanted, there = known[-1] if known else (0, False)
        if present - later - {wanted if there else -1}:
            raise Violation(
                f"generation {number} claims version {version}, yet it holds {document} of"
                f" {sorted(present)}: written in {rows}"
            )
        if there and not later and not present and (document, wanted) not in self.parked:
            raise Violation(
                f"generation {number} claims version {version}, yet it lacks {document} of"
                f" version {wanted}"
            )

    @property
    def live_number(self) -> int:
        return int(self.live[-1]["generation"]) if self.live else 0

    def documents(self) -> dict[str, int]:
        """Those that exist and are not parked, each with its version."""
        return {
            name: rows[-1][0]
            for name, rows in self.rows.items()
            if rows[-1][1] and (name, rows[-1][0]) not in self.parked
        }

    def acknowledged(self, request: str, version: int) -> None:
        """A client was told that its request is in a version."""
        if self.requests.get(request) != version:
            raise Violation(
                f"request {request} was acknowledged as version {version}, the corpus has it in"
                f" {self.requests.get(request)}"
            )

    def _committed(self, verb: str, path: str) -> None:
        entry = json.loads(self.disk.files[path])
        found = COMMITTED.fullmatch(path)
        before = self.live[-1] if self.live else None
        if verb != "create" or found is None or int(found[1]) != len(self.live) + 1:
            raise Violation(f"{path} was put after entry {len(self.live)}: {verb}")
        if before is not None and entry["term"] < before["term"]:
            raise Violation(
                f"term {entry['term']} committed {path} after term {before['term']}: no fence"
            )
        if entry["term"] < self.floor:
            raise Violation(
                f"term {entry['term']} committed {path} when a leader after it had begun to lead"
            )
        if self._caller_is_deposed():
            self.reach("a deposed leader commits before it is fenced")
        self.live.append(entry)
        number = int(entry["generation"])
        if not number:
            self.reach("a new leader fences when nothing is live")
            return
        if before is not None and before["generation"] == number:
            self.reach("a new leader fences the others")
            return
        self._check_fit(number, before)
        self.on_live(number)
        if before is not None and any(each["generation"] == number for each in self.live[:-1]):
            self.reach("the retained generation is live again")

    def _caller_is_deposed(self) -> bool:
        term = self.term_of_caller()
        return term is not None and term < self.term

    def _check_fit(self, number: int, before: dict[str, Any] | None) -> None:
        """Whether what went live was gated and is complete."""
        index = self.indexes[number]
        states = [state for state, _ in index.states]
        if "validating" not in states:
            raise Violation(f"generation {number} is live, and was never validated: {states}")
        # Of one that finds nothing because there is nothing, no gate sees that it is worse.
        excused = index.manifest["forced"] or index.was_empty
        if index.manifest["snapshot"] in self.poor and not excused:
            raise Violation(f"generation {number} is live, and is worse than what was")
        self.check_content(number, index.applied)
        last = int(before["generation"]) if before else 0
        if last and last not in self.damaged and index.applied < self.indexes[last].applied:
            raise Violation(
                f"generation {number} went live at version {index.applied}, {last} has"
                f" {self.indexes[last].applied}"
            )

    def _appended(self, verb: str, path: str, version: int) -> None:
        before = f"{path.rpartition('/')[0]}/{version - 1:020d}.json"
        if verb == "create" and version <= self.version and before not in self.disk.files:
            # Its place was free, and no reader goes back so far: it must not be acknowledged.
            self.reach("a write comes so late that its place in the log was cleaned")
            return
        if verb != "create" or version != self.version + 1:
            raise Violation(f"{path} was put after version {self.version}: {verb}")
        self.version = version
        if self._caller_is_deposed():
            self.reach("a deposed leader's write comes before any of its successor's")
        for line in self.disk.files[path].splitlines():
            action = json.loads(line)
            if add := action.get("add"):
                self.data_files.add(f"corpus/{add['path']}")
                if add["dataChange"]:
                    self._read_rows(f"corpus/{add['path']}", version)
            elif remove := action.get("remove"):
                self.data_files.discard(f"corpus/{remove['path']}")
                self.reach("rows are erased, or files joined")

    def _read_rows(self, path: str, version: int) -> None:
        if path not in self.disk.files:
            raise Violation(f"version {version} names {path}, which is not there")
        file = pq.ParquetFile(io.BytesIO(self.disk.files[path]))
        groups = (file.read_row_group(group, COLUMNS) for group in range(file.num_row_groups))
        for row in (row for group in groups for row in group.to_pylist()):
            if row["version"] != version:
                continue  # one that maintenance moved
            rows = self.rows.setdefault(row["document_id"], [])
            rows.append((version, row["op"] == "upsert"))
            before = self.requests.setdefault(row["request_id"], version)
            if before != version:
                raise Violation(f"request {row['request_id']} is in versions {before}, {version}")

    def _told_of_generation(self, verb: str, path: str) -> None:
        if found := APPLIED.fullmatch(path):
            number, version = int(found[1]), int(found[2])
            index = self.indexes[number]
            # A collection of a build begins anew under its next leader: what the one before
            # recorded, or still had on its way, then counts when the build goes live.
            counts = version >= index.applied and self.term_of_caller() is not None
            index.applied = max(index.applied, version)
            if version > self.version:
                raise Violation(f"generation {number} has applied {version} of {self.version}")
            if counts or self._is_served(number):
                self.check_content(number, index.applied)
        elif found := EVENT.fullmatch(path):
            event = json.loads(self.disk.files[path])
            if verb != "create":
                raise Violation(f"{path} was overwritten")
            index = self.indexes[int(found[1])]
            if index.state != event["state"]:
                self._turned(index, event["state"], event["why"])
            index.states.append((event["state"], event["why"]))
            self._note_emptiness(index)
        elif found := MANIFEST.fullmatch(path):
            if verb != "create":
                raise Violation(f"{path} was overwritten")
            made = json.loads(self.disk.files[path])
            self.indexes[int(found[1])] = Index(made, applied=int(made["corpus_version"]))
            if made["snapshot"] in self.poor:
                self.qdrant.poor.add(made["collection"])

    def _turned(self, index: Index, state: str, why: str) -> None:
        for (ends_in, because), reached in TURNS.items():
            if state == ends_in and because in why:
                self.reach(reached)
        if state == "live" and index.manifest["heals"]:
            self.reach("a damaged index is healed")
        elif state == "live" and index.words_alone:
            self.reach("words are live before there are vectors")

    def _told_of_control(self, path: str) -> None:
        if found := CLAIM.fullmatch(path):
            self.term = int(found[1])
        elif found := DAMAGED.fullmatch(path):
            self.damaged.add(int(found[1]))
            self.reach("a damaged index is noticed")

    def _deleted(self, path: str) -> None:
        top = path.split("/", 1)[0]
        if top == "live" or path in self.data_files:
            raise Violation(f"{path} was deleted, and is in use")
        if top == "parked":
            self.parked = {_parked(self.disk.files[e]) for e in self.disk.below("parked")}
        if top in ("passages", "vectors", "snapshots") or MANIFEST.fullmatch(path):
            for number, index in self.indexes.items():
                if index.state in SERVED or number == self.live_number:
                    self._check_not_of(number, index, path)

    def _check_not_of(self, number: int, index: Index, path: str) -> None:
        made = index.manifest
        snapshot, files = made["snapshot"], made["passage_files"]
        _, _, inner = path.partition("/")
        mine = (
            path in files
            or (path.startswith("vectors/") and int(inner.split("-")[0]) == snapshot
                and f"passages/{inner.partition('/')[2]}" in files)
            or path.startswith(f"snapshots/{snapshot:08d}-")
            or path == f"generations/{number:08d}/manifest.json"
        )  # fmt: skip
        if mine:
            raise Violation(f"{path} was deleted, and {index.state} generation {number} needs it")


def _parked(data: bytes) -> tuple[str, int]:
    found = json.loads(data)
    return str(found["document_id"]), int(found["version"])
