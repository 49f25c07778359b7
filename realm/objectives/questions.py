"""Questions as material to learn from: where they lie, and which of them may be used."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from realm.corpus.documents import is_held_out
from realm.errors import BadSettings, NotFound, NotReady
from realm.records.store import Store
from realm.text.questions import Question, parse_questions


def load_questions(name: str, store: Store) -> tuple[Question, ...]:
    """The questions of a file by its path or, if there is none, by its name in the store.

    :raises InvalidInput: naming file and line, if a line cannot be used.
    :raises BadSettings, DependencyUnavailable: as `read_file`.
    """
    return parse(read_file(name, store), name)


def read_file(name: str, store: Store) -> bytes:
    """:raises BadSettings: if no name is given, or there is no such file in either place.
    :raises DependencyUnavailable: if the store does not answer.
    """
    if not name:
        raise BadSettings(
            "open_qa and dpr learn from questions: name a file of them by REALM_TRAIN_QUESTIONS,"
            " or give these objectives no weight in REALM_OBJECTIVES"
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


def parse(text: bytes, name: str) -> tuple[Question, ...]:
    """:raises InvalidInput: naming file and line, if a line cannot be used."""
    return tuple(parse_questions(text.splitlines(), name))


class Questions:
    """Those that all objectives of a training learn from; others may take their place."""

    def __init__(self, found: Sequence[Question] = ()) -> None:
        self.all = tuple(found)

    def replace(self, found: Sequence[Question]) -> None:
        self.all = tuple(found)


class QuestionPool:
    """Questions that an objective may learn from; the others are counted in `skipped`."""

    def __init__(self, questions: Questions, skipped: Counter[str]) -> None:
        self._questions = questions
        self._skipped = skipped
        self._sorted = questions.all
        self._usable = self._sift()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def named(self) -> bool:
        """Every question names its document."""
        return all(question.document_id is not None for question in self._questions.all)

    @property
    def _kept(self) -> list[Question]:
        """Sorted out once, and again when there are others."""
        if self._sorted is not self._questions.all:
            self._sorted = self._questions.all
            self._usable = self._sift()
        return self._usable

    def _sift(self) -> list[Question]:
        return [one for one in self._sorted if self._may_be_learnt(one)]

    def _may_be_learnt(self, question: Question) -> bool:
        if question.document_id is not None and is_held_out(question.document_id):
            self._skipped["held_out"] += 1
        elif not question.has_answer:
            self._skipped["no_answer_text"] += 1
        else:
            return True
        return False

    def draw(self, count: int, rng: random.Random) -> list[Question]:
        """So many different questions, or all if there are fewer.

        :raises NotReady: if there are none.
        """
        if not self._kept:
            raise NotReady(
                "none of the questions may be learnt from: all lack an answer, or their documents"
                " are held out"
            )
        return rng.sample(self._kept, min(count, len(self._kept)))
