"""What the model learns by: objectives with their weights, drawn by seed and step, and the settings
of each."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from realm.errors import BadSettings
from realm.settings.groups import Group


@dataclass(frozen=True, slots=True)
class Mixture:
    """Objectives with their shares of the steps: positive, and together 1."""

    shares: tuple[tuple[str, float], ...]

    @classmethod
    def parse(cls, text: str) -> Mixture:
        """`inverse_cloze=3,masked_lm=1`: a weight each; a name alone has weight 1.

        :raises BadSettings: naming the part without a name, given twice, or no weight.
        """
        weights: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, given = (piece.strip() for piece in part.partition("="))
            if not name:
                raise BadSettings(f"{part!r} names no objective")
            if name in weights:
                raise BadSettings(f"the objective {name} is given twice: add its weights up")
            weights[name] = _weight(given if "=" in part else "1", part)
        total = math.fsum(weights.values())
        if not total:
            raise BadSettings(
                "no objective has a weight: give some, such as inverse_cloze=3,masked_lm=1;"
                " to learn nothing, set REALM_TRAIN to false"
            )
        return cls(tuple((name, one / total) for name, one in weights.items() if one))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shares)

    def at(self, seed: int, step: int, about: str = "objective") -> str:
        """The objective of a step: the same in every run with this seed and these weights.

        :param about: sets draws of one step for different ends apart.
        """
        left = random.Random(f"{seed}:{step}:{about}").random()
        for name, share in self.shares:
            left -= share
            if left < 0:
                return name
        return self.shares[-1][0]

    def only(self, names: frozenset[str]) -> Mixture | None:
        """The same weights over fewer objectives; None if that leaves none."""
        kept = [(name, share) for name, share in self.shares if name in names]
        total = math.fsum(share for _, share in kept)
        return Mixture(tuple((name, share / total) for name, share in kept)) if kept else None


def _weight(given: str, part: str) -> float:
    try:
        weight = float(given)
    except ValueError as error:
        raise BadSettings(f"the weight in {part!r} is no number: give one of 0 or more") from error
    if not (math.isfinite(weight) and weight >= 0):
        raise BadSettings(f"the weight in {part!r} must be a finite number of 0 or more")
    return weight


class Objectives(Group):
    """What the model learns by."""

    objectives: str = Field(
        "inverse_cloze=3,masked_lm=1",
        description="what to learn by, with weights: docs/objectives.md has the objectives",
    )
    inverse_cloze_batch: int = Field(16, ge=2, description="passages in an inverse cloze step")
    masked_lm_batch: int = Field(2, ge=1, description="sentences in a masked-LM step")
    masked_lm_masks: Literal["salient_spans", "random_spans", "random_words"] = Field(
        "salient_spans", description="what masked LM hides; random_*: the paper's ablations"
    )
    masked_lm_span_term: bool = Field(
        True,
        description="masked LM: train the span head as well, and the retriever by it; false: the"
        " paper's pre-training alone",
    )
    salient_tagger: str = Field(
        "", description="token-classification model, by folder or hub name; empty: rules"
    )
    train_questions: str = Field(
        "",
        description="JSON lines of questions to learn from: a path, or a file in the store",
    )
    cloze_qa_batch: int = Field(2, ge=1, description="questions in a cloze QA step")
    open_qa_batch: int = Field(2, ge=1, description="questions in an open-domain QA step")
    open_qa_beam: int = Field(
        5000, ge=1, description="passages in the retriever's term of open-domain QA"
    )
    open_qa_read: int = Field(
        5, ge=1, description="passages that open-domain QA reads per question"
    )
    dpr_batch: int = Field(16, ge=2, description="questions in a DPR step")
    hard_negatives: int = Field(
        1,
        ge=0,
        description="DPR: best passages without an answer, per question; 0: in-batch negatives"
        " only",
    )
    train_passage_tokens: int = Field(
        0,
        ge=0,
        description="longest passage input in training steps, in word pieces; of a longer"
        " passage, a window around the answer; 0: as in the index, else at least 16",
    )
    trivial_removal_share: float = Field(
        0.9,
        ge=0,
        le=1,
        description="inverse cloze: share of passages from which the sentence is removed",
    )

    @field_validator("train_passage_tokens")
    @classmethod
    def _hold_a_passage(cls, value: int) -> int:
        if 0 < value < 16:
            raise ValueError("give at least 16 word pieces, or 0 for the index's length")
        return value

    @field_validator("objectives")
    @classmethod
    def _can_be_mixed(cls, value: str) -> str:
        try:
            Mixture.parse(value)
        except BadSettings as error:
            raise ValueError(error.message) from error
        return value
