"""Answers without retrieval: a sequence-to-sequence model answers from its parameters.

Roberts et al. 2020 (T5, closed book). Any such model of transformers, by folder or hub name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from realm.errors import InvalidInput, NotFound
from realm.evaluation.evaluate import WARM_UP, latency_sample
from realm.evaluation.parallel import Progress, no_progress_bars
from realm.evaluation.report import (
    Report,
    exact_match_share,
    mean_f1,
    percentiles,
    provenance,
    recalls,
)
from realm.text.questions import Question

NAME = "closed-book"
QUESTION_BATCH = 16
QUESTION_TOKENS, ANSWER_TOKENS = 128, 32


@dataclass(frozen=True, slots=True)
class ClosedBook:
    """The model, in eval mode, and its tokenizer."""

    name: str
    model: Any
    tokenizer: Any

    def answers(self, questions: Sequence[str]) -> list[str]:
        """The likeliest answer to each, by greedy search."""
        asked = self.tokenizer(
            list(questions),
            padding=True,
            truncation=True,
            max_length=QUESTION_TOKENS,
            return_tensors="pt",
        )
        given = {
            name: asked[name].to(self.model.device) for name in ("input_ids", "attention_mask")
        }
        with torch.inference_mode():
            said = self.model.generate(
                **given, max_new_tokens=ANSWER_TOKENS, num_beams=1, do_sample=False
            )
        texts: list[str] = self.tokenizer.batch_decode(said, skip_special_tokens=True)
        return [text.strip() for text in texts]


def load_closed_book(name_or_folder: str, device: torch.device) -> ClosedBook:
    """:raises InvalidInput: if no model is named.
    :raises NotFound: if there is none of that name, or it is not sequence-to-sequence.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    if not name_or_folder:
        raise InvalidInput(
            "closed-book asks a sequence-to-sequence model: give --model with its folder or hub"
            " name, such as google/t5-small-ssm-nq"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_folder)
        model = AutoModelForSeq2SeqLM.from_pretrained(name_or_folder)
    except (OSError, ValueError) as error:
        raise NotFound(
            f"{name_or_folder} is not a sequence-to-sequence model that can be loaded: {error}",
            model=name_or_folder,
        ) from error
    name = name_or_folder.rstrip("/").split("/")[-1]
    return ClosedBook(name, model.to(device).eval(), tokenizer)


def evaluate_closed_book(
    book: ClosedBook, questions: Sequence[Question], *, progress: Progress = no_progress_bars
) -> Report:
    """Exact match and F1; recall does not apply, since nothing is retrieved.

    :raises InvalidInput: if no question has an answer.
    """
    asked = [question for question in questions if question.has_answer]
    if not asked:
        raise InvalidInput("no question has an answer: nothing can be measured without documents")
    began = time.monotonic()
    bar = progress("answers")
    said: list[str] = []
    for start in range(0, len(asked), QUESTION_BATCH):
        some = asked[start : start + QUESTION_BATCH]
        said += book.answers([question.question for question in some])
        bar(len(said), len(asked))
    sample = latency_sample([one.question for one in asked])
    _latencies(book, sample[:WARM_UP])
    read = list(zip(asked, said, strict=True))
    return Report(
        system=NAME,
        documents=recalls([]),
        answers=recalls([]),
        em=exact_match_share(read),
        f1=mean_f1(read),
        latency_ms=percentiles(_latencies(book, sample)),
        extras={
            "questions": len(questions),
            "model": {"name": book.name},
            **provenance(book.model.device, book.model.dtype),
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def _latencies(book: ClosedBook, questions: Sequence[str]) -> list[float]:
    """Milliseconds of each question, one at a time."""
    times = []
    for question in questions:
        began = time.perf_counter()
        book.answers([question])
        times.append((time.perf_counter() - began) * 1000)
    return times
