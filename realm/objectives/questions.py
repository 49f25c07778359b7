"""Questions as material to learn from: where they lie, and which of them may be used."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from realm.corpus.documents import is_held_out
from realm.errors import BadSettings, NotFound, NotReady
from realm.evaluation.questions import Question, parse_questions, read_questions
from realm.store import Store


def load_questions(name: str, store: Store) -> list[Question]:
    """The questions of a file by its path or, if there is none, by its name in the store.

    :raises BadSettings: if no name is given, or there is no such file in either place.
    :raises InvalidInput: naming file and line, if a line cannot be used.
    :raises DependencyUnavailable: if the store does not answer.
    """
    if not name:
        raise BadSettings(
            "open_qa and dpr learn from questions: name a file of them by REALM_TRAIN_QUESTIONS,"
            " or give these objectives no weight in REALM_OBJECTIVES"
        )
    path = Path(name)
    if path.is_file():
        return read_questions(path)
    try:
        return parse_questions(store.read(name).splitlines(), name)
    except NotFound as error:
        raise BadSettings(
            f"REALM_TRAIN_QUESTIONS names {name}, which is neither a file here nor one in the"
            f" store {store.url}"
        ) from error


class QuestionPool:
    """Questions that an objective may learn from; the others are counted in `skipped`."""

    def __init__(self, questions: Sequence[Question], skipped: Counter[str]) -> None:
        self._kept: list[Question] = []
        for question in questions:
            if question.document_id is not None and is_held_out(question.document_id):
                skipped["held_out"] += 1
            elif not question.has_answer:
                skipped["no_answer_text"] += 1
            else:
                self._kept.append(question)

    def __len__(self) -> int:
        return len(self._kept)

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
