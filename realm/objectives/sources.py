"""What objectives draw from: passages, their sentences, and questions with known answers.

Documents that are held out are never learnt from.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.errors import BadSettings, InvalidInput, NotFound, NotReady
from realm.model.inputs import Encoded, InputBuilder
from realm.records.store import Store
from realm.text.questions import Question, parse_questions
from realm.text.sentences import sentence_spans

#: Passages that one example may cost before the corpus counts as unusable for an objective.
TRIES_PER_EXAMPLE = 200

T = TypeVar("T")
S = TypeVar("S")


class PassageSource:
    """Iterates over passages to learn from, without those of held-out documents."""

    def __init__(
        self, passages: Iterator[Passage], skipped: Counter[str], objective: str, examples: int
    ) -> None:
        self._passages = passages
        self._skipped = skipped
        self._objective = objective
        self._left = examples * TRIES_PER_EXAMPLE

    def __iter__(self) -> Iterator[Passage]:
        """:raises NotReady: when so many were drawn that the corpus must be unusable."""
        for passage in self._passages:
            self._left -= 1
            if self._left < 0:
                break
            if is_held_out(passage.document_id):
                self._skipped["held_out"] += 1
            else:
                yield passage
        raise NotReady(
            f"the corpus holds too few passages that {self._objective} can learn from"
            f" (skipped so far: {dict(self._skipped)}); add documents with several sentences"
        )


def shuffled_sentences(text: str, rng: random.Random) -> list[str]:
    spans = sentence_spans(text)
    rng.shuffle(spans)
    return [text[start:end] for start, end in spans]


def first_success_per_item(
    tries: Sequence[Sequence[S]], make: Callable[[Sequence[S]], Sequence[T | None]]
) -> list[T | None]:
    """What `make` makes of the first of each one's tries that serves; None where none does.

    `make` is asked for the first try of all, then for the second of those without success, ….
    """
    found: list[T | None] = [None] * len(tries)
    left = [place for place, own in enumerate(tries) if own]
    turn = 0
    while left:
        made = make([tries[place][turn] for place in left])
        for place, one in zip(left, made, strict=True):
            found[place] = one
        turn += 1
        left = [place for place in left if found[place] is None and turn < len(tries[place])]
    return found


def load_questions(name: str, store: Store) -> tuple[Question, ...]:
    """The questions of a file by its path or, if there is none, by its name in the store.

    :raises InvalidInput: naming file and line, if a line cannot be used.
    :raises BadSettings, DependencyUnavailable: as `read_questions_file`.
    """
    return parse_questions_file(read_questions_file(name, store), name)


def read_questions_file(name: str, store: Store) -> bytes:
    """:raises BadSettings: if no name is given, or there is no such file in either place.
    :raises DependencyUnavailable: if the store does not answer.
    """
    if not name:
        raise BadSettings(
            "REALM_OBJECTIVES has objectives that learn from questions: name a file of questions"
            " by REALM_TRAIN_QUESTIONS, or give these objectives no weight"
        )
    path = Path(name)
    try:
        return path.read_bytes() if path.is_file() else store.read(name)
    except OSError as error:
        raise BadSettings(f"REALM_TRAIN_QUESTIONS: {name} cannot be read: {error}") from error
    except NotFound as error:
        raise BadSettings(
            f"REALM_TRAIN_QUESTIONS names {name}, which is neither a file here nor one in the"
            f" store {store.url}"
        ) from error


def parse_questions_file(text: bytes, name: str) -> tuple[Question, ...]:
    """:raises InvalidInput: naming file and line, if a line cannot be used."""
    return tuple(parse_questions(text.splitlines(), name))


class Questions:
    """The questions that all objectives of a training share; they may be replaced meanwhile."""

    def __init__(self, found: Sequence[Question] = ()) -> None:
        self.all = tuple(found)

    def replace(self, found: Sequence[Question]) -> None:
        self.all = tuple(found)


class QuestionPool:
    """Questions that an objective may learn from; the others are counted in `skipped`."""

    def __init__(self, questions: Questions, inputs: InputBuilder, skipped: Counter[str]) -> None:
        self._questions = questions
        self._inputs = inputs
        self._skipped = skipped
        self._filter()

    def __len__(self) -> int:
        return len(self._current())

    @property
    def all_name_documents(self) -> bool:
        return all(question.document_id is not None for question in self._questions.all)

    def draw(self, count: int, rng: random.Random) -> list[tuple[Question, Encoded]]:
        """So many different questions, or all if there are fewer, with their model inputs.

        Questions without word pieces are skipped.

        :raises NotReady: if there are none.
        """
        usable = self._current()
        if not usable:
            raise NotReady(
                "none of the questions may be learnt from: all lack an answer, or their documents"
                " are held out"
            )
        drawn = rng.sample(usable, min(count, len(usable)))
        return [(one, encoded) for one in drawn if (encoded := self._encode(one))]

    def _encode(self, question: Question) -> Encoded | None:
        try:
            return self._inputs.query(question.question)
        except InvalidInput:
            self._skipped["no_word_pieces"] += 1
            return None

    def _current(self) -> list[Question]:
        if self._filtered is not self._questions.all:
            self._filter()
        return self._usable

    def _filter(self) -> None:
        self._filtered = self._questions.all
        self._usable = [one for one in self._filtered if self._may_be_learnt(one)]

    def _may_be_learnt(self, question: Question) -> bool:
        if question.document_id is not None and is_held_out(question.document_id):
            self._skipped["held_out"] += 1
        elif not question.has_answer:
            self._skipped["no_answer_text"] += 1
        else:
            return True
        return False
