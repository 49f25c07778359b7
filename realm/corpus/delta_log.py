"""The corpus' Delta log: which files the table is made of, version by version.

Every byte goes through the store, which a term fences and a power cut spares: a library's own
writes are neither. So a commit is one conditional put of the log's next entry, after the files
that it names are on disk; and whatever a leader still does that slept over its end is harmless:

- its commit meets an entry that exists already;
- a checkpoint says of a version what anybody would say of it;
- a file that it deletes is needed by nobody, now or later. A data file carries the version that it
  was written for in its name, and is named by that version's entry or by none; it is deleted when
  that version is there and the file is no part of the newest.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from realm.corpus.data_files import FOLDER, FOOTER, DataFile, footer_checksum
from realm.corpus.delta_checkpoints import Action, checkpoint_bytes, checkpoint_rows
from realm.errors import Conflict, Corrupt, DamagedCorpus, NotFound, RealmError
from realm.records.store import Store

LOG = f"{FOLDER}/_delta_log"
ENTRY = re.compile(r"/(\d{20})\.json$")
CHECKPOINT = re.compile(r"/(\d{20})\.checkpoint\.parquet$")
DATA = re.compile(r"part-(\d{20})-[0-9a-f]{32}\.parquet")
#: Data files that an earlier release wrote: their names tell nothing.
OLD_DATA = re.compile(r"part-\d{5}-.*\.parquet")
CHECKPOINT_EVERY = 100
#: Of an entry's actions, beside when and by which operation they were committed; an earlier release
#: wrote none.
CHECKSUM = "realm.checksum"
#: What a checkpoint covers stays so long for whoever reads on from an older version.
LOG_SECONDS = 3600.0
#: A commit of an earlier release took less: a file that no entry names by then is waste.
OLD_SECONDS = 86_400.0
#: Columns whose bounds the log tells of each file: no names and no texts of documents.
BOUNDED = ("version", "bucket", "written_at")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class State:
    """What the entries up to a version make together."""

    version: int = -1
    files: dict[str, DataFile] = field(default_factory=dict)
    #: What earlier versions had, and still may lie there.
    removed: dict[str, Action] = field(default_factory=dict)
    protocol: Action = field(default_factory=dict)
    metadata: Action = field(default_factory=dict)

    def apply(self, data: bytes, version: int) -> None:
        """:raises DamagedCorpus: if the entry is not what was written."""
        path = _entry(version)
        try:
            for row in entry_rows(data, path):
                self.take(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedCorpus(f"{path} is damaged: {error}", file=path) from error
        self.version = version

    def take(self, row: Action) -> None:
        if add := row.get("add"):
            stats = json.loads(add.get("stats") or "{}")
            lowest, highest = stats.get("minValues", {}), stats.get("maxValues", {})
            found = DataFile(str(add["path"]), int(add["size"]), lowest, highest, add)
            self.files[found.name] = found
            self.removed.pop(found.name, None)
        elif remove := row.get("remove"):
            self.files.pop(remove["path"], None)
            self.removed[remove["path"]] = remove
        elif protocol := row.get("protocol"):
            if protocol["minReaderVersion"] > 1:
                raise DamagedCorpus(
                    "the corpus' table needs a newer reader: another program wrote to it"
                )
            self.protocol = protocol
        elif metadata := row.get("metaData"):
            self.metadata = metadata


def entry_rows(data: bytes, path: str) -> list[Action]:
    """The actions of an entry. :raises DamagedCorpus: if they are not what was written."""
    rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    checksum = next((row["commitInfo"].get(CHECKSUM) for row in rows[:1]), "")
    if checksum is not None and checksum != _checksum(rows[1:]):
        raise DamagedCorpus(f"{path} is damaged: its checksum differs", file=path)
    return rows


class DeltaLog:
    """One reader's or the writer's view of the table; not thread-safe."""

    def __init__(self, store: Store, schema: str, configuration: dict[str, str]) -> None:
        """Opens the table, or makes it.

        :param schema: of the rows, as Delta writes it.
        :raises DamagedCorpus: if the log lacks an entry, or is none that we understand.
        """
        self._store = store
        self._schema = schema
        self._configuration = configuration
        self._state = State()
        if not self._load():
            try:
                self._create()
            except Conflict:
                self._load()

    @property
    def version(self) -> int:
        return self._state.version

    def files(self) -> list[DataFile]:
        """In the order in which their rows were written."""
        return sorted(
            self._state.files.values(), key=lambda f: (f.lowest.get("version", 0), f.name)
        )

    def refresh(self) -> int:
        """Reads what was committed since."""
        if not self._store.exists(_entry(self.version)):
            # Whoever slept long finds the entries that follow gone: a checkpoint has them.
            self._load()
        while True:
            following = self.version + 1
            try:
                data = self._store.read(_entry(following))
            except NotFound:
                return self.version
            self._state.apply(data, following)

    def write(self, rows: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema) -> Action | None:
        """Puts a data file for the next commit and returns the action that adds it; None if there
        is no row."""
        sink, count = io.BytesIO(), 0
        lowest: dict[str, float] = {}
        highest: dict[str, float] = {}
        with pq.ParquetWriter(
            sink, schema, compression="snappy", write_page_checksum=True
        ) as writer:
            for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
                if batch.num_rows:
                    writer.write_batch(batch)
                    count += batch.num_rows
                    _widen(lowest, highest, batch)
        if not count:
            return None
        name = f"part-{self._state.version + 1:020d}-{uuid.uuid4().hex}.parquet"
        data = sink.getvalue()
        self._store.create(f"{FOLDER}/{name}", data)
        stats = {
            "numRecords": count,
            "minValues": lowest,
            "maxValues": highest,
            "nullCount": dict.fromkeys(BOUNDED, 0),
        }
        return {
            "path": name,
            "partitionValues": {},
            "size": len(data),
            "modificationTime": _now(),
            "dataChange": True,
            "stats": json.dumps(stats),
            "tags": {FOOTER: footer_checksum(sink)},
        }

    def commit(
        self, add: Iterable[Action], remove: Iterable[DataFile] = (), *, same_rows: bool = False
    ) -> int:
        """Makes the next version; durable on return.

        :param same_rows: only the files are others.
        :raises Conflict: if another writer made that version.
        """
        version = self._state.version + 1
        gone = [
            {"path": f.name, "deletionTimestamp": _now(), "dataChange": not same_rows,
             "extendedFileMetadata": True, "partitionValues": {}, "size": f.size}
            for f in remove
        ]  # fmt: skip
        added = [{**each, "dataChange": not same_rows} for each in add]
        actions = [
            *self._newer_schema(),
            *({"remove": each} for each in gone),
            *({"add": each} for each in added),
        ]
        data = _committed("OPTIMIZE" if same_rows else "WRITE", actions)
        try:
            self._store.create(_entry(version), data)
        except Conflict as error:
            raise Conflict(
                f"corpus version {version} was written by somebody else", version=version
            ) from error
        if not self._store.exists(_entry(version - 1)):
            # Whoever slept so long that the log was cleaned found its place free: nobody reads it.
            raise Conflict(f"corpus version {version} is long past", version=version)
        self._state.apply(data, version)
        if version % CHECKPOINT_EVERY == 0:
            try:
                self.checkpoint()
            except RealmError as error:
                # The commit stands; the log is longer to read until the next one.
                log.warning("checkpoint_not_written", version=version, why=str(error))
        return version

    def _newer_schema(self) -> list[Action]:
        """What tells that rows have columns which the table had not before."""
        if self._state.metadata["schemaString"] == self._schema:
            return []
        theirs, ours = json.loads(self._state.metadata["schemaString"]), json.loads(self._schema)
        known = {field["name"] for field in theirs["fields"]}
        added = [field for field in ours["fields"] if field["name"] not in known]
        if not added:
            return []
        schema = json.dumps({**theirs, "fields": [*theirs["fields"], *added]})
        return [{"metaData": {**self._state.metadata, "schemaString": schema}}]

    def checkpoint(self) -> None:
        """Writes the state of the version that is seen, so that a reader can begin with it."""
        files = [each.action for each in self._state.files.values()]
        data = checkpoint_bytes(
            self._state.protocol, self._state.metadata, files, self._state.removed.values()
        )
        self._store.write(_checkpoint(self._state.version), data)
        count = len(files) + len(self._state.removed) + 2
        hint = {"version": self._state.version, "size": count, "sizeInBytes": len(data)}
        self._store.write(f"{LOG}/_last_checkpoint", json.dumps(hint).encode())

    def clean(self, now: float) -> None:
        """Deletes what a new checkpoint covers and is older than `LOG_SECONDS`."""
        self.checkpoint()
        self._store.delete_all(
            entry.path
            for entry in self._store.entries(LOG)
            if (found := _number(entry.path)) is not None
            and found < self._state.version
            and now - entry.modified > LOG_SECONDS
        )

    def vacuum(self, now: float, seconds: float) -> int:
        """Deletes data files that are no part of the newest version and were in none since so
        many seconds ago; returns how many."""
        self.refresh()
        waste = [
            entry.path
            for entry in self._store.entries(FOLDER)
            if self._is_waste(entry.path.removeprefix(f"{FOLDER}/"), entry.modified, now, seconds)
        ]
        self._store.delete_all(waste)
        for path in waste:
            self._state.removed.pop(path.removeprefix(f"{FOLDER}/"), None)
        return len(waste)

    def _is_waste(self, name: str, modified: float, now: float, seconds: float) -> bool:
        if name in self._state.files:
            return False
        if (removed := self._state.removed.get(name)) is not None:
            return now - float(removed.get("deletionTimestamp") or 0) / 1000 >= seconds
        if found := DATA.fullmatch(name):
            return int(found.group(1)) <= self._state.version
        return bool(OLD_DATA.fullmatch(name)) and now - modified > OLD_SECONDS

    def _create(self) -> None:
        protocol = {"minReaderVersion": 1, "minWriterVersion": 2}
        metadata = {
            "id": str(uuid.uuid4()),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": self._schema,
            "partitionColumns": [],
            "createdTime": _now(),
            "configuration": self._configuration,
        }
        data = _committed("CREATE TABLE", [{"protocol": protocol}, {"metaData": metadata}])
        self._store.create(_entry(0), data)
        self._state.apply(data, 0)

    def _load(self) -> bool:
        """Reads everything anew; False if there is no table."""
        while True:
            paths = [path for path in self._store.files(LOG) if _number(path) is not None]
            if not paths:
                return False
            try:
                self._state = self._read(paths)
            except (NotFound, DamagedCorpus) as error:
                # Somebody may have cleaned the log meanwhile.
                if all(self._store.exists(path) for path in paths):
                    raise DamagedCorpus(error.message, **error.details) from error
            else:
                return True

    def _read(self, paths: list[str]) -> State:
        state = State()
        for path in reversed(paths):
            if CHECKPOINT.search(path) and (state := self._at(path)).version >= 0:
                break
        for path in paths:
            number = _number(path) or 0
            if ENTRY.search(path) and number > state.version:
                if number != state.version + 1:
                    raise DamagedCorpus(f"the corpus' log lacks {_entry(state.version + 1)}")
                state.apply(self._store.read(path), number)
        if state.version < 0:
            raise DamagedCorpus(f"nothing in {LOG} tells what the corpus is made of", file=LOG)
        return state

    def _at(self, path: str) -> State:
        """As a checkpoint says; of nothing if it is damaged: an older one, or none, will do."""
        state = State()
        try:
            for row in checkpoint_rows(self._store.read(path)):
                state.take(row)
        except (NotFound, Corrupt) as error:
            log.warning("checkpoint_passed_over", file=path, why=str(error))
            return State()
        state.version = _number(path) or 0
        return state


def newest_version(store: Store) -> int:
    """The version of the newest commit, by its name alone; 0 without a table."""
    numbers = (_number(path) for path in store.files(LOG))
    return max((number for number in numbers if number is not None), default=0)


def _entry(version: int) -> str:
    return f"{LOG}/{version:020d}.json"


def _checkpoint(version: int) -> str:
    return f"{LOG}/{version:020d}.checkpoint.parquet"


def _number(path: str) -> int | None:
    """The version that a file of the log is about; None: it is no entry and no checkpoint."""
    found = ENTRY.search(path) or CHECKPOINT.search(path)
    return int(found.group(1)) if found else None


def _widen(lowest: dict[str, float], highest: dict[str, float], batch: pa.RecordBatch) -> None:
    for column in BOUNDED:
        bounds = pc.min_max(batch.column(column)).as_py()
        lowest[column] = min(lowest.get(column, bounds["min"]), bounds["min"])
        highest[column] = max(highest.get(column, bounds["max"]), bounds["max"])


def _committed(operation: str, actions: list[Action]) -> bytes:
    """An entry of the log: Delta lets whoever commits say about it what he likes."""
    info = {"timestamp": _now(), "operation": operation, CHECKSUM: _checksum(actions)}
    rows = [{"commitInfo": info}, *actions]
    return "".join(f"{_line(row)}\n" for row in rows).encode()


def _line(row: Action) -> str:
    return json.dumps(row, separators=(",", ":"))


def _checksum(actions: list[Action]) -> str:
    lines = "\n".join(json.dumps(each, sort_keys=True) for each in actions)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _now() -> int:
    """Delta's times are Unix milliseconds."""
    return int(time.time() * 1000)
