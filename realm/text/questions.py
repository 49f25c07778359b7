"""Questions with known answers, one JSON object a line; and when two answers are the same.

Normalisation in every script, exact match, F1. On ASCII text it is SQuAD's official script to the
letter; beyond, MLQA's (Lewis et al. 2020): punctuation of every script goes, words of scripts
without spaces are single characters. Torch-free: gateway, trainer and `realm eval` must agree.
"""

from __future__ import annotations

import codecs
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from realm.errors import InvalidInput

# Arabic's article is a prefix: it goes where two letters or more are left of the word.
_ARTICLES = re.compile(r"\b(?:a|an|the)\b|\bال(?=\w\w)", re.UNICODE)
# Thai, Lao, Burmese, Khmer, Kana, Han: one character, one word.
_SPACELESS = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff])"
)
_WORDS = re.compile(r"[^\W\d_]+")
#: What a question for yes or no opens with in English; its negation is "n't", "not" or nothing.
_ASKS_YES_OR_NO = re.compile(
    r"(is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must"
    r"|(is|are|was|were|do|does|did|has|have|had|could|wo|would|should)n)"
)
_ALEF = dict.fromkeys("أإآٱ", "ا")
_TATWEEL = "\u0640"


class _Folding(dict[int, str]):
    """What is left of each character; found when first met."""

    def __missing__(self, code: int) -> str:
        self[code] = kept = _fold(chr(code))
        return kept


_FOLDING = _Folding()


def normalise_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces; one spelling of digits, width, alef.

    Words of scripts without spaces come out as single characters, so that the words of the result
    are what F1 counts.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    bare = _ARTICLES.sub(" ", text.lower().translate(_FOLDING))
    return " ".join((bare if bare.isascii() else _SPACELESS.sub(r" \1 ", bare)).split())


def asks_yes_or_no(question: str) -> bool:
    """Whether an English question is answered by yes or no: it opens with a verb ("Is it …?"),
    names no alternatives ("… or …") and is no polite wish ("Can you tell me …?").

    What other languages do for it is not told from words alone: False.
    """
    words = _WORDS.findall(question.lower().replace("’", "'"))
    if len(words) < 3 or words[1] == "you" or "or" in words:
        return False
    return _ASKS_YES_OR_NO.fullmatch(words[0]) is not None


def is_spaceless(char: str) -> bool:
    """Whether the script of a character puts no space between words."""
    return _SPACELESS.match(char) is not None


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction equals one of the answers after normalisation."""
    found = normalise_answer(prediction)
    return any(found == normalise_answer(answer) for answer in answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 over words (characters, without spaces) with one of the answers, in [0, 1]."""
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def _f1(prediction: str, answer: str) -> float:
    found, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    common = (Counter(found) & Counter(wanted)).total()
    if common == 0:
        # Two answers without any word left are equal.
        return float(found == wanted)
    return 2 * common / (len(found) + len(wanted))


def _fold(char: str) -> str:
    """Character by character, so that a text's folding is that of its parts."""
    if "\uff01" <= char <= "\uff5e":  # full width
        char = chr(ord(char) - 0xFEE0).lower()
    category = unicodedata.category(char)
    if char in string.punctuation or category[0] == "P" or char == _TATWEEL:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Mn" and "\u0610" <= char <= "\u06ed":  # Arabic vowel signs
        return ""
    return _ALEF.get(char, char)


def _check_not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("give text that is not blank")
    return text


Text = Annotated[str, AfterValidator(_check_not_blank)]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known of its answer: texts, or an expression, or the document.

    `other_document_ids` answer as well as `document_id` does: who searches is content with any.
    """

    question: str
    answers: tuple[str, ...] = ()
    answer_pattern: re.Pattern[str] | None = None
    document_id: str | None = None
    other_document_ids: tuple[str, ...] = ()

    @property
    def document_ids(self) -> tuple[str, ...]:
        """All that answer; none where none is known."""
        return () if self.document_id is None else (self.document_id, *self.other_document_ids)

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
    other_document_ids: tuple[Text, ...] = ()


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
    question = Question(
        row.question, row.answers or (), pattern, row.document_id, row.other_document_ids
    )
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
