"""Passages: a document cut into what is indexed, and their Arrow form.

A passage lies under one heading, and its title is the path of headings to it. Within, whole
sentences, rows of tables and blocks of code are packed greedily, so a change at a document's end
leaves its first passages as they were. Each passage is tokenised by itself: its ids are exactly
those of its own text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from realm.corpus.documents import Document, passage_id
from realm.corpus.structure import Section, sections
from realm.errors import BadSettings, Corrupt
from realm.model.inputs import MIN_BODY_TOKENS, InputBuilder
from realm.text.sentences import sentence_spans
from realm.text.terms import count_terms

# A word beyond the vocabulary is one word piece however long it is (a line of Thai, a megabyte
# of base64), so characters are bounded as well: a passage must fit into a payload and a screen.
MAX_CHARACTERS_PER_PIECE = 16

#: Between the headings of a title: "Operations > Alerts > IndexStale".
TITLE_SEPARATOR = " > "

PASSAGE_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("passage_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("document_version", pa.int64(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("title_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("body_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        # JSON, so that the schema knows no user's keys.
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("terms", pa.list_(pa.uint32()), nullable=False),
        pa.field("term_counts", pa.list_(pa.uint32()), nullable=False),
        pa.field("answer", pa.string()),
    ]
)

#: Files from before there was BM25, or an answer stored with a question, have none of these.
LATER = frozenset({"terms", "term_counts", "answer"})


@dataclass(frozen=True, slots=True)
class Passage:
    """What is indexed: characters [start, end) of one version of a document.

    `title_ids` and `body_ids` are word pieces without special tokens; `content_hash` is the
    sha256, in hexadecimal, of title and text; `metadata` is the document's. `terms` are those of
    title, text and answer by their hashes, each once, `term_counts` how often each occurs. `answer`
    is the document's: it answers the question that the text is.
    """

    passage_id: str
    document_id: str
    document_version: int
    ordinal: int
    start: int
    end: int
    title: str
    text: str
    title_ids: list[int]
    body_ids: list[int]
    content_hash: str
    metadata: dict[str, str] = field(default_factory=dict)
    terms: list[int] = field(default_factory=list)
    term_counts: list[int] = field(default_factory=list)
    answer: str = ""


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is not cut (a sentence, a row, code, a part of one that is too long), and its pieces."""

    start: int
    end: int
    pieces: int


def split_document(document: Document, version: int, inputs: InputBuilder) -> list[Passage]:
    """Cuts a document into passages of at most `inputs.body_budget(title_ids)` word pieces.

    Together with the headings in their titles they cover every character that is not white space;
    sentence ends are preferred as cuts, then word ends. Time is linear in the text.

    :raises BadSettings: if the passage length leaves no room for a body beside the title.
    """
    passages: list[Passage] = []
    for section in sections(document.text):
        title = _title(document.title, section.headings, inputs)
        title_ids = inputs.title_ids(title)
        other_terms = count_terms(title) + count_terms(document.answer)
        budget = _body_budget(title_ids, inputs)
        for start, end, body_ids in _Cutter(document.text, section, inputs, budget).bodies():
            text = document.text[start:end]
            counted = other_terms + count_terms(text)
            passages.append(
                Passage(
                    passage_id=passage_id(document.id, len(passages)),
                    document_id=document.id,
                    document_version=version,
                    ordinal=len(passages),
                    start=start,
                    end=end,
                    title=title,
                    text=text,
                    title_ids=title_ids,
                    body_ids=body_ids,
                    content_hash=content_hash(title, text),
                    metadata=document.metadata,
                    terms=list(counted),
                    term_counts=list(counted.values()),
                    answer=document.answer,
                )
            )
    return passages


def _title(title: str, headings: Sequence[str], inputs: InputBuilder) -> str:
    """The document's title and the headings, without the outer ones where all are too long."""
    # Most files are titled by their first heading.
    below = headings[1:] if headings[:1] == (title,) else headings
    path = [each for each in (title, *below) if each]
    longest = inputs.longest_title
    while len(path) > 1 and len(inputs.tokenize(TITLE_SEPARATOR.join(path))[0]) > longest:
        del path[1]
    return TITLE_SEPARATOR.join(path)


def _body_budget(title_ids: Sequence[int], inputs: InputBuilder) -> int:
    budget = inputs.body_budget(title_ids)
    if budget < MIN_BODY_TOKENS:
        raise BadSettings(
            f"passages of {inputs.limits.passage} word pieces leave {budget} for the body beside "
            f"a title of {len(title_ids)}: give longer passages or a shorter title length"
        )
    return budget


def content_hash(title: str, text: str) -> str:
    """Equal for equal title and text alone: such a passage may keep its vector."""
    head = title.encode()
    # The title's length comes first, so that ("ab", "c") and ("a", "bc") differ.
    return hashlib.sha256(b"%d:%b%b" % (len(head), head, text.encode())).hexdigest()


def to_table(passages: Iterable[Passage]) -> pa.Table:
    """The passages as a table of `PASSAGE_SCHEMA`, in order of document id and ordinal."""
    ordered = sorted(passages, key=lambda passage: (passage.document_id, passage.ordinal))
    columns = {
        name: [getattr(passage, name) for passage in ordered] for name in PASSAGE_SCHEMA.names
    }
    columns["metadata"] = [json.dumps(each, sort_keys=True) for each in columns["metadata"]]
    return pa.table(columns, schema=PASSAGE_SCHEMA)


def from_table(table: pa.Table) -> list[Passage]:
    """The passages of a table, in its order; other columns are left alone.

    :raises Corrupt: if a column of `PASSAGE_SCHEMA` is missing or of another type.
    """
    absent = LATER - set(table.column_names)
    schema = pa.schema([each for each in PASSAGE_SCHEMA if each.name not in absent])
    try:
        rows = table.select(schema.names)
        rows = rows if rows.schema.equals(schema) else rows.cast(schema)
        return [_passage(row) for row in rows.to_pylist()]
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise Corrupt(f"this table does not hold passages: {error}") from error


def _passage(row: dict[str, Any]) -> Passage:
    answer = row.pop("answer", None) or ""
    return Passage(**{**row, "metadata": json.loads(row["metadata"])}, answer=answer)


class _Cutter:
    """Cuts one section of a text: into units, units into groups, groups into bodies."""

    def __init__(self, text: str, section: Section, inputs: InputBuilder, budget: int) -> None:
        self.text = text
        self.section = section
        self.inputs = inputs
        self.budget = budget
        self.max_characters = budget * MAX_CHARACTERS_PER_PIECE

    def bodies(self) -> Iterator[tuple[int, int, list[int]]]:
        """Start, end and word piece ids of each passage, in order."""
        for group in self._groups():
            yield from self._body(group[0].start, group[-1].end)

    def _body(self, start: int, end: int) -> Iterator[tuple[int, int, list[int]]]:
        ids, _ = self.inputs.tokenize(self.text[start:end])
        if len(ids) <= self.budget:
            yield start, end, ids
            return
        # Only for a tokenizer that makes more of a text than of its parts: halve until it fits.
        for unit in self._fitting(start, end, limit=self.budget // 2):
            yield from self._body(unit.start, unit.end)

    def _groups(self) -> Iterator[list[_Unit]]:
        """Greedy packing, one group behind, so that the last two can share their units evenly."""
        previous: list[_Unit] = []
        group: list[_Unit] = []
        pieces = 0
        for unit in self._units():
            too_long = group and unit.end - group[0].start > self.max_characters
            if too_long or pieces + unit.pieces > self.budget:
                if previous:
                    yield previous
                previous, group, pieces = group, [], 0
            group.append(unit)
            pieces += unit.pieces
        yield from self._balanced(previous, group)

    def _balanced(self, previous: list[_Unit], last: list[_Unit]) -> Iterator[list[_Unit]]:
        """Moves whole units from the last but one group to the last while that evens them out."""
        sizes = [sum(unit.pieces for unit in group) for group in (previous, last)]
        while len(previous) > 1:
            moved = previous[-1]
            fits = last[-1].end - moved.start <= self.max_characters
            if not fits or sizes[1] + moved.pieces > sizes[0] - moved.pieces:
                break
            last.insert(0, previous.pop())
            sizes = [sizes[0] - moved.pieces, sizes[1] + moved.pieces]
        yield from (group for group in (previous, last) if group)

    def _units(self) -> Iterator[_Unit]:
        at = self.section.start
        for start, end in self.section.whole:
            yield from self._sentences(at, start)
            yield from self._whole(start, end)
            at = end
        yield from self._sentences(at, self.section.end)

    def _whole(self, start: int, end: int) -> Iterator[_Unit]:
        if end - start <= self.max_characters:
            ids, _ = self.inputs.tokenize(self.text[start:end])
            if len(ids) <= self.budget:
                yield _Unit(start, end, len(ids))
                return
        yield from self._sentences(start, end)

    def _sentences(self, start: int, end: int) -> Iterator[_Unit]:
        for first, last in sentence_spans(self.text[start:end]):
            yield from self._fitting(start + first, start + last, limit=self.budget)

    def _fitting(self, start: int, end: int, limit: int) -> Iterator[_Unit]:
        """Parts of [start, end), none with more than `limit` word pieces or too many characters."""
        reach = self.max_characters
        while start < end:
            stop = min(end, start + reach)
            if stop < end:
                stop = self._white_space_before(start, stop)
            ids, offsets = self.inputs.tokenize(self.text[start:stop])
            # A part cut inside a word may have other pieces than the word had: look again.
            while len(ids) > limit and stop - start > 1:
                stop = start + self._cut(ids, offsets, limit, stop - start)
                ids, offsets = self.inputs.tokenize(self.text[start:stop])
            yield self._stripped(start, stop, len(ids))
            # Scripts differ in characters a piece: the next look need not reach much further.
            reach = min(self.max_characters, max(limit, 2 * (stop - start)))
            start = stop
            while start < end and self.text[start].isspace():
                start += 1

    def _white_space_before(self, start: int, stop: int) -> int:
        for at in range(stop, start + (stop - start) // 2, -1):
            if self.text[at].isspace():
                return at
        return stop

    def _cut(self, ids: list[int], offsets: list[tuple[int, int]], limit: int, size: int) -> int:
        """Where to cut, in (0, size): the last good place before word piece `limit`."""
        begins = [offset[0] for offset in offsets]
        possible = [
            at
            for at in range(limit, 0, -1)
            if begins[at] >= offsets[at - 1][1] and 0 < begins[at] < size
        ]
        near = [at for at in possible if at > limit // 2]
        for at in near:
            if begins[at] > offsets[at - 1][1]:  # white space between the two
                return begins[at]
        for at in near:
            if not self._continues(ids[at]):
                return begins[at]
        return begins[possible[0]] if possible else max(1, size // 2)

    def _continues(self, piece: int) -> bool:
        return self.inputs.pieces.read(str(self.inputs.tokenizer.id_to_token(piece))).goes_on

    def _stripped(self, start: int, end: int, pieces: int) -> _Unit:
        text = self.text[start:end]
        begin = start + len(text) - len(text.lstrip())
        return _Unit(begin, start + len(text.rstrip()), pieces)
