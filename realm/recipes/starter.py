"""From questions to a starter on disk: prepare, train, measure on held-out documents, write."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from realm.corpus.documents import Document, stable_bucket
from realm.errors import NotFound
from realm.evaluation.parallel import OnProgress, Progress, no_progress, no_progress_bars
from realm.evaluation.report import mean, provenance
from realm.evaluation.searching import read, split_documents
from realm.evaluation.systems import System
from realm.model.answers import Answers, Reading
from realm.model.calibration import calibrate, expected_calibration_error, fit, fit_evidence
from realm.model.checkpoint import Model, build_reader
from realm.model.config import AnswerRules
from realm.model.starter import CARD_FILE, load_starter, write_starter
from realm.objectives.reading import ReaderLoss
from realm.recipes.reader import ReaderPlan, ReaderStep, learnable_parameters, train_reader
from realm.recipes.reading_examples import QuestionExamples, ReaderDataset, cloze_examples, prepare
from realm.text.questions import Question, contains_answer, f1, is_exact_match, normalise_answer
from realm.text.salient_spans import RuleTagger, SpanTagger

HARD_NEGATIVES = 4  # the best passages but its own, from which a question's negatives are drawn
PASSAGES_READ = 5
MOST_CLOZE = 8_000
SAVE_SECONDS = 150.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StarterData:
    """What a starter learns from; `more` are documents for cloze examples alone."""

    documents: Sequence[Document]
    questions: Sequence[Question]
    more: Sequence[Document] = ()


def make_starter(
    model: Model,
    system: System,
    data: StarterData,
    plan: ReaderPlan,
    to: Path,
    about: dict[str, Any],
    *,
    tagger: SpanTagger = RuleTagger(),
    progress: Progress = no_progress_bars,
) -> dict[str, Any]:
    """Fits the model's s and w, trains its reader and writes both, every few minutes and at the
    end; its card.

    :param system: the model's. Its `retrieval` chooses passages for the held-out questions, as it
        will in serving: the probabilities are fitted to that.
    :param tagger: finds what cloze examples ask for.
    :param about: fields of the card that the caller knows: command, data, licence.

    :raises InvalidInput: if no question can be taught.
    :raises Diverged: if training does; what was written last stays.
    """
    dataset = prepare(
        system,
        data.documents,
        data.questions,
        hard=HARD_NEGATIVES,
        read=PASSAGES_READ,
        progress=progress,
    )
    model.retriever.set_relevance(dataset.relevance)
    system = replace(system, relevance=dataset.relevance)
    objective = ReaderLoss(
        model.inputs,
        max_span_width=plan.max_span_width,
        reader_tokens=plan.reader_tokens,
        null=plan.no_answer > 0,
    )
    cloze = _cloze(system, data, plan, dataset.skipped, tagger, progress)
    writer = _Writer(model, to, {**about, **_card_facts(model, dataset, len(cloze), plan, system)})
    bar = progress("training")

    def on_step(step: ReaderStep) -> None:
        bar(step.number, step.planned)
        writer.observe(step)

    last = train_reader(
        model.reader,
        objective,
        dataset.examples,
        plan,
        cloze=cloze,
        dtype=system.dtype,
        on_step=on_step,
    )
    skipped = dict(dataset.skipped + objective.skipped)
    writer.write(last)
    # Measured as it is before it is calibrated: what is fitted here has to start from there.
    knows_none = plan.no_answer > 0 or model.reader.answers.null
    model.reader.answers = AnswerRules(null=knows_none)
    figures, rules = measure(system, dataset.held_out, progress("held-out answers"))
    _log.info("starter_trained", steps=last.number, seconds=last.seconds, **figures)
    answers = dataclasses.asdict(rules)
    return writer.write(last, held_out=figures, answers=answers, skipped=skipped)


def continue_from(model: Model, folder: Path) -> dict[str, Any]:
    """Puts a starter's weights and rules into the model's reader; what its card says of itself.

    :raises NotFound: if the folder has no starter of the model's base.
    :raises Corrupt: if the starter is damaged.
    """
    found = load_starter(model.config.base_sha256, folder)
    if found is None:
        raise NotFound(f"{folder} has no starter for the base {model.config.base_name}")
    weights = {**model.reader.state_dict(), **found.weights()}
    model.reader.load_state_dict(build_reader(model.config, weights).state_dict())
    model.reader.answers = found.answers
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    told = ("command", "plan", "training", "held_out", "sha256", "continues")
    return {name: card.get(name) for name in told}


class _Writer:
    """Keeps a usable starter on disk while training goes on."""

    def __init__(self, model: Model, to: Path, about: dict[str, Any]) -> None:
        self._model = model
        self._to = to
        self._about = about
        self._names = list(learnable_parameters(model.reader))
        self._written = 0.0
        self._loss = math.nan

    def observe(self, step: ReaderStep) -> None:
        if math.isfinite(step.loss):
            # A plain mean at first, then a moving one over some 50 steps.
            weight = max(1 / step.number, 0.02)
            known = math.isfinite(self._loss)
            self._loss = self._loss + weight * (step.loss - self._loss) if known else step.loss
        if step.seconds - self._written >= SAVE_SECONDS:
            self._written = step.seconds
            self.write(step)
            _log.info("starter_saved", step=step.number, of=step.planned, loss=self._loss)

    def write(self, step: ReaderStep, **figures: Any) -> dict[str, Any]:
        weights = self._model.reader.state_dict()
        training = {
            "steps": step.number,
            "planned_steps": step.planned,
            "seconds": round(step.seconds, 1),
            "mean_loss": round(self._loss, 4) if math.isfinite(self._loss) else None,
        }
        card = {**self._about, "training": training, **figures}
        write_starter(self._to, {name: weights[name] for name in self._names}, card)
        return card


def describe_files(files: Sequence[Path]) -> list[dict[str, str]]:
    """Names, without folders, and checksums; of a folder its name alone."""
    return [
        {"name": file.name}
        | ({"sha256": hashlib.sha256(file.read_bytes()).hexdigest()} if file.is_file() else {})
        for file in files
    ]


def _cloze(
    system: System,
    data: StarterData,
    plan: ReaderPlan,
    skipped: Counter[str],
    tagger: SpanTagger,
    progress: Progress,
) -> list[QuestionExamples]:
    """Examples from documents that a question names, and from `data.more`, if any are planned."""
    if plan.cloze <= 0:
        return []
    named = {question.document_id for question in data.questions}
    read = {one.id: one for one in data.documents if one.id in named}
    read |= {one.id: one for one in data.more}
    return cloze_examples(
        system,
        split_documents(read.values(), system.inputs),
        MOST_CLOZE,
        random.Random(plan.seed),
        skipped=skipped,
        tagger=tagger,
        progress=progress,
    )


def _card_facts(
    model: Model, dataset: ReaderDataset, cloze: int, plan: ReaderPlan, system: System
) -> dict[str, Any]:
    settings = dataclasses.asdict(plan)
    if math.isinf(plan.seconds):
        settings["seconds"] = None
    return {
        "base_name": model.config.base_name,
        "base_sha256": model.config.base_sha256,
        "span_hidden_size": model.config.span_hidden_size,
        "max_span_width": model.config.max_span_width,
        "passage_scores": model.config.passage_scores,
        "plan": settings,
        "questions_taught": len(dataset.examples),
        "cloze_lessons": cloze,
        "held_out_retrieval": system.retrieval.value,
        "relevance": dataclasses.asdict(dataset.relevance),
        **provenance(system.reader.device, system.dtype),
    }


def measure(
    system: System,
    held_out: Sequence[tuple[Question, Reading]],
    on_progress: OnProgress = no_progress,
) -> tuple[dict[str, Any], AnswerRules]:
    """EM, F1 and calibration on questions of held-out documents, and the rules fitted to them.

    The calibration error `after` is that of questions the fit did not see: one half of the
    documents is judged by what the other half gives.
    """
    answers = read(system, [reading for _, reading in held_out], on_progress)
    asked = [question for question, _ in held_out]
    texts = [one.found[0].text if one.found else "" for one in answers]
    right = [is_exact_match(question, text) for question, text in zip(asked, texts, strict=True)]
    shares = [one.found[0].probability if one.found else 0.0 for one in answers]
    nulls = [one.no_answer for one in answers]
    half = [stable_bucket(one.document_id or "", 2) for one in asked]
    after = list(shares)
    for side in (0, 1):
        seen = [n for n, of in enumerate(half) if of != side]
        rules = fit([shares[n] for n in seen], [nulls[n] for n in seen], [right[n] for n in seen])
        for n in range(len(half)):
            if half[n] == side and answers[n].found:
                after[n] = calibrate([shares[n]], nulls[n], rules)[0]
    figures = {
        "questions": len(asked),
        "em": mean([float(one) for one in right]),
        "f1": mean([f1(t, q.answers) for q, t in zip(asked, texts, strict=True)]),
        "abstained": mean([float(one.abstains) for one in answers]),
        "abstained_when_right": mean(
            [float(one.abstains) for one, hit in zip(answers, right, strict=True) if hit]
        ),
        "calibration_error": {
            "before": expected_calibration_error(shares, right),
            "after": expected_calibration_error(after, right),
        },
    }
    fitted = fit(shares, nulls, right)
    return figures, replace(
        fitted, null=system.reader.answers.null, evidence=_fit_evidence(held_out, answers)
    )


def _fit_evidence(
    held_out: Sequence[tuple[Question, Reading]], answers: Sequence[Answers]
) -> float:
    """How much the reader's evidence says of which passages hold an answer."""

    def holds(question: Question, text: str) -> bool:
        return contains_answer(text, normalise_answer(text), question)

    return fit_evidence(
        [np.array(reading.log_priors) for _, reading in held_out],
        [np.array(one.evidence) for one in answers],
        [np.array([holds(asked, text) for text in own.passages], bool) for asked, own in held_out],
    )
