"""Answers without retrieval: a sequence-to-sequence model says what it knows by heart.

Roberts et al. 2020 (T5, closed book). Any such model of transformers, by folder or hub name.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from realm.errors import InvalidInput, NotFound
from realm.evaluation import report
from realm.evaluation.evaluate import LATENCY_SAMPLE, WARM_UP, Progress, no_progress_bars
from realm.evaluation.metrics import mean, percentile
from realm.evaluation.report import Report
from realm.text import answers as scoring
from realm.text.questions import Question, is_exact_match

NAME = "closed-book"
QUESTION_BATCH = 16
QUESTION_TOKENS, ANSWER_TOKENS = 128, 32


@dataclass(frozen=True, slots=True)
class ClosedBook:
    """The model, in eval mode, and its tokenizer; `prefix` goes before every question."""

    name: str
    model: Any
    tokenizer: Any
    prefix: str = ""

    def answers(self, questions: Sequence[str]) -> list[str]:
        """The likeliest answer to each, by greedy search."""
        asked = self.tokenizer(
            [self.prefix + question for question in questions],
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


def load_closed_book(name_or_folder: str, device: torch.device, prefix: str = "") -> ClosedBook:
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
            f"{name_or_folder} is no sequence-to-sequence model that can be had: {error}",
            model=name_or_folder,
        ) from error
    name = name_or_folder.rstrip("/").split("/")[-1]
    return ClosedBook(name, model.to(device).eval(), tokenizer, prefix)


def evaluate_closed_book(
    book: ClosedBook, questions: Sequence[Question], *, progress: Progress = no_progress_bars
) -> Report:
    """Exact match and F1; there is nothing to recall, for nothing is retrieved.

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
    times = _latencies(book, asked)
    return Report(
        system=NAME,
        documents=report.recalls([]),
        answers=report.recalls([]),
        em=mean([float(is_exact_match(one, text)) for one, text in zip(asked, said, strict=True)]),
        f1=mean(
            [
                scoring.f1(text, one.answers)
                for one, text in zip(asked, said, strict=True)
                if one.answers
            ]
        ),
        latency_ms={"p50": percentile(times, 50), "p99": percentile(times, 99)},
        extras={
            "questions": len(questions),
            "model": {"name": book.name, "prefix": book.prefix},
            "machine": report.machine(
                torch.get_num_threads(), str(book.model.device), str(book.model.dtype)
            ),
            "version": report.version(),
            "commit": report.commit(),
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def _latencies(book: ClosedBook, asked: Sequence[Question]) -> list[float]:
    """Milliseconds of questions taken evenly from all, one at a time; the first few warm up."""
    step = max(1, len(asked) // LATENCY_SAMPLE)
    sample = [one.question for one in asked[::step][:LATENCY_SAMPLE]]
    times = []
    for question in [*sample[:WARM_UP], *sample]:
        began = time.perf_counter()
        book.answers([question])
        times.append((time.perf_counter() - began) * 1000)
    return times[len(sample[:WARM_UP]) :]
