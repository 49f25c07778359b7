"""When two answers are the same answer: SQuAD's normalisation, exact match, F1, expressions.

Torch-free and process-free: gateway, trainer and `realm eval` must agree to the letter.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from realm.errors import InvalidInput

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)


def normalise_answer(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces (SQuAD's official script)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction equals one of the answers after normalisation."""
    found = normalise_answer(prediction)
    return any(found == normalise_answer(answer) for answer in answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 over words with one of the answers, in [0, 1]; 0 without answers."""
    return max((_f1(prediction, answer) for answer in answers), default=0.0)


def regex_match(prediction: str, patterns: Sequence[str]) -> bool:
    """Whether an expression matches at the prediction's start (CuratedTrec's answers).

    :raises InvalidInput: if a pattern is no regular expression.
    """
    return any(_compiled(pattern).match(prediction) is not None for pattern in patterns)


def _f1(prediction: str, answer: str) -> float:
    found, wanted = normalise_answer(prediction).split(), normalise_answer(answer).split()
    common = (Counter(found) & Counter(wanted)).total()
    if common == 0:
        # Two answers without any word left are equal.
        return float(found == wanted)
    return 2 * common / (len(found) + len(wanted))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE | re.UNICODE | re.MULTILINE)
    except re.error as error:
        raise InvalidInput(f"{pattern!r} is not a regular expression: {error}") from error
