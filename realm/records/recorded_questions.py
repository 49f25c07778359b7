"""Questions that users asked, kept for the gate if that is switched on: bounded in number and in
age, and forgotten on demand. The leading indexer writes them.

A file's name says when its first question was asked and how many it holds, so that what may go is
known without reading one. Copies of some are among the probe questions of a generation.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from realm.errors import Corrupt, NotFound
from realm.records import arrow
from realm.records.folder import Entry
from realm.records.generation import generation_folder
from realm.records.generations import Generations
from realm.records.states import IN_PROGRESS
from realm.records.store import Store
from realm.settings import Settings

NAME = re.compile(r"/(\d+)-(\d+)-\w+\.arrow$", re.ASCII)
FOLDER = "recorded"
#: Changes when questions were forgotten: what a leader has not written yet is dropped then.
FORGOTTEN = "control/recorded_forgotten"
#: The gate's figure of a generation that was probed with some of them.
PROBES_RECORDED = "probes_recorded"
SCHEMA = pa.schema(
    [
        ("question", pa.string()),
        ("document_id", pa.string()),
        ("snapshot", pa.int64()),
        ("asked_at", pa.float64()),
        ("answer", pa.string()),
    ]
)
PROBES = "probe"
#: The sources of probe questions that users asked: recorded with an answer, or searched for lately.
SEARCHED = "searched"
FROM_USERS = (FOLDER, SEARCHED)

log = structlog.get_logger(__name__)

Each = TypeVar("Each")


@dataclass(frozen=True, slots=True)
class RecordedQuestion:
    """A question, the document that its answer was read in, and by whose snapshot; Unix time.

    Earlier releases recorded no answer.
    """

    question: str
    document_id: str
    snapshot: int
    asked_at: float
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many questions are kept, and for how long; `most` 0: none, those there go."""

    most: int
    seconds: float

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """Questions name documents, so none is older than a deleted document may be."""
        most = settings.recording.most if settings.recording.questions else 0
        return cls(most, min(settings.recording.seconds, settings.corpus.erase_within_seconds))


class Sample(Generic[Each]):
    """So many of all that came, each with the same chance (Vitter 1985, algorithm R)."""

    def __init__(self, size: int) -> None:
        self.items: list[Each] = []
        self._size = size
        self._came = 0

    def add(self, item: Each) -> None:
        self._came += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif (place := random.randrange(self._came)) < self._size:
            self.items[place] = item


class RecordedQuestions:
    """The questions in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, questions: Sequence[RecordedQuestion]) -> str:
        """Returns the file's path."""
        first = int(min(each.asked_at for each in questions))
        path = f"{FOLDER}/{first:012d}-{len(questions):06d}-{uuid.uuid4().hex[:8]}.arrow"
        table = pa.Table.from_pylist([asdict(each) for each in questions], schema=SCHEMA)
        arrow.write_table(self._store, path, table)
        return path

    def all(self) -> list[RecordedQuestion]:
        """Newest file first; one that is gone or damaged is left out."""
        found: list[RecordedQuestion] = []
        for path in reversed(self._store.files(FOLDER)):
            try:
                rows = arrow.read_table(self._store, path).to_pylist()
            except (NotFound, Corrupt) as error:
                log.warning("recorded_questions_left_out", file=path, why=str(error))
                continue
            found += [RecordedQuestion(**row) for row in rows]
        return found

    def expired(self, now: float, bounds: Bounds) -> list[Entry]:
        """Files that are too old at a Unix time, or too many; the oldest go first."""
        kept, gone = 0, []
        for entry in reversed(self._store.entries(FOLDER)):
            if (found := NAME.search(entry.path)) is None:
                continue
            first, count = map(int, found.groups())
            kept += count
            if kept > bounds.most or now - first > bounds.seconds:
                gone.append(entry)
        return gone

    def forgotten(self) -> bytes:
        """A mark that another call of `forget` changes."""
        try:
            return self._store.read(FORGOTTEN)
        except NotFound:
            return b""

    def forget(self, texts: Sequence[str] | None, generations: Generations) -> list[int]:
        """Deletes each file that is damaged or holds a question with one of the texts in it (None:
        all), also where a generation was probed with it, and what the leader has not written yet.

        :return: generations that are being built with such a question, or may be: their files stay
            until they end, else their gate would ask different questions of the two.
        """
        self._store.write(FORGOTTEN, uuid.uuid4().hex.encode())
        found = [path for path in self._store.files(FOLDER) if self._is_held(path, texts)]
        for path in found:
            self._store.delete(path)
        building: list[int] = []
        for number in generations.numbers():
            probes = probe_files(self._store, number)
            if generations.state(number) in IN_PROGRESS:
                # Before it has its probes they may be being chosen from the files found.
                if self.probed_with(number, texts) or (found and not probes):
                    building.append(number)
            elif self.probed_with(number, texts):
                for entry in probes:
                    self._store.delete(entry.path)
        return building

    def probed_with(self, number: int, texts: Sequence[str] | None = None) -> bool:
        """Whether a generation's files have a user's question, with one of the texts in it."""
        for entry in probe_files(self._store, number):
            try:
                table = arrow.read_table(self._store, entry.path)
            except NotFound:
                continue
            except Corrupt:
                return True
            if "source" not in table.column_names:
                continue
            users = pc.is_in(table["source"], value_set=pa.array(FROM_USERS))
            if _holds(_texts(table.filter(users)), texts):
                return True
        return False

    def _is_held(self, path: str, texts: Sequence[str] | None) -> bool:
        try:
            return _holds(_texts(arrow.read_table(self._store, path)), texts)
        except NotFound:
            return False
        except Corrupt:
            return True


def probe_files(store: Store, number: int) -> list[Entry]:
    """A generation's probe questions, as they are and encoded."""
    folder = generation_folder(number)
    return [entry for entry in store.entries(folder) if entry.path.startswith(f"{folder}/{PROBES}")]


def _texts(table: pa.Table) -> list[str]:
    """What users asked and were answered; earlier releases kept no answers."""
    kept = {"question", "answer", "answers", "filter"} & set(table.column_names)
    return [str(text) for name in kept for text in table[name].to_pylist()]


def _holds(questions: Sequence[object], texts: Sequence[str] | None) -> bool:
    if texts is None:
        return bool(questions)
    return any(text in str(question) for question in questions for text in texts)
