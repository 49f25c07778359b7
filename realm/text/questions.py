"""Questions with known answers, one JSON object a line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from realm.errors import InvalidInput
from realm.text.answers import exact_match, is_spaceless, normalise_answer


def _check_not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("give text that is not blank")
    return text


Text = Annotated[str, AfterValidator(_check_not_blank)]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known of its answer: texts, or an expression, or the document."""

    question: str
    answers: tuple[str, ...] = ()
    answer_pattern: re.Pattern[str] | None = None
    document_id: str | None = None

    @property
    def has_answer(self) -> bool:
        return bool(self.answers) or self.answer_pattern is not None


def contains_answer(text: str, normalised: str, question: Question) -> bool:
    """Whether a passage holds an answer: whole words after normalisation, or the expression.

    :param normalised: `normalise_answer(text)`, which many questions share.
    """
    if question.answer_pattern is not None and question.answer_pattern.search(text):
        return True
    return any(_holds_words(normalised, normalise_answer(answer)) for answer in question.answers)


def is_exact_match(question: Question, answer: str) -> bool:
    """Equal to an answer after normalisation, or matched by the expression from its start."""
    if question.answer_pattern is not None and question.answer_pattern.match(answer):
        return True
    return exact_match(answer, question.answers)


def read_questions(path: Path, limit: int | None = None) -> list[Question]:
    """The questions of a file, or its first `limit`; fields of other names are left alone.

    :raises InvalidInput: naming file and line, if a line cannot be used; if there is none at all.
    """
    try:
        with path.open("rb") as file:
            return parse_questions(file, str(path), limit)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", path=path) from error


def parse_questions(lines: Iterable[bytes], name: str, limit: int | None = None) -> list[Question]:
    """As `read_questions`, from lines of something that is called `name`."""
    questions: list[Question] = []
    for number, line in enumerate(lines, 1):
        if limit is not None and len(questions) >= limit:
            break
        if line.strip():
            questions.append(_question(line, f"{name}:{number}"))
    if not questions:
        raise InvalidInput(f"{name} has no questions: give one JSON object a line", path=name)
    return questions


class _Line(BaseModel):
    """A line of a file of questions; fields of other names are left alone."""

    model_config = ConfigDict(strict=True)

    question: Text
    answers: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    answer_pattern: Text | None = None
    document_id: Text | None = None


def _question(line: bytes, place: str) -> Question:
    try:
        row = _Line.model_validate_json(line.removeprefix(codecs.BOM_UTF8))
        flags = re.IGNORECASE | re.UNICODE | re.MULTILINE
        pattern = None if row.answer_pattern is None else re.compile(row.answer_pattern, flags)
    except ValidationError as error:
        fault = error.errors()[0]
        field = "".join(f"{part}: " for part in fault["loc"])
        raise InvalidInput(f"{place}: {field}{fault['msg']}", place=place) from error
    except re.error as error:
        raise InvalidInput(
            f"{place}: answer_pattern is not a regular expression: {error}", place=place
        ) from error
    question = Question(row.question, row.answers or (), pattern, row.document_id)
    if not question.has_answer and question.document_id is None:
        raise InvalidInput(
            f"{place}: the question has no answers: give answers, answer_pattern or document_id",
            place=place,
        )
    return question


def _holds_words(text: str, words: str) -> bool:
    if not words:
        return False
    at = text.find(words)
    while at >= 0:
        end = at + len(words)
        if not _one_word(text[at - 1 : at], words[0]) and not _one_word(
            words[-1], text[end : end + 1]
        ):
            return True
        at = text.find(words, at + 1)
    return False


def _one_word(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word; either may be missing."""
    return left.isalnum() and right.isalnum() and not (is_spaceless(left) or is_spaceless(right))
