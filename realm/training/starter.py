"""From questions to a starter on disk: prepare, train, measure on held-out documents, write."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
import torch

from realm import scoring
from realm.corpus.documents import Document
from realm.errors import NotFound
from realm.evaluation import report
from realm.evaluation.evaluate import Progress, no_progress
from realm.evaluation.metrics import mean
from realm.evaluation.questions import Question
from realm.evaluation.reading import is_exact, read_answers
from realm.evaluation.systems import System, system_of
from realm.model.checkpoint import Model, build_reader
from realm.model.starter import CARD_FILE, find_starter, write_starter
from realm.objectives.open_qa import OpenQA
from realm.training.lessons import Course, prepare
from realm.training.reader import Plan, Step, learning, train_reader

HARD_NEGATIVES = 4  # the best passages but its own, from which a question's negatives are drawn
PASSAGES_READ = 5
SAVE_SECONDS = 150.0

_log = structlog.get_logger(__name__)


def make_starter(
    model: Model,
    documents: Sequence[Document],
    questions: Sequence[Question],
    plan: Plan,
    to: Path,
    about: dict[str, Any],
    *,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Trains the model's reader and writes it, every few minutes and at the end; its card.

    :param about: fields of the card that the caller knows: command, data, licence.

    :raises InvalidInput: if no question can be taught.
    :raises Diverged: if training does; what was written last stays.
    """
    system = system_of(model, "starter", 0, device, dtype)
    course = prepare(
        system,
        documents,
        questions,
        hard=HARD_NEGATIVES,
        read=PASSAGES_READ,
        progress=progress,
    )
    objective = OpenQA(
        model.inputs, max_span_width=plan.max_span_width, reader_tokens=plan.reader_tokens
    )
    writer = _Writer(model, to, {**about, **_facts(model, course, plan, system)})
    bar = progress("training")

    def on_step(step: Step) -> None:
        bar(step.number, step.planned)
        writer.observe(step)

    last = train_reader(
        model.reader, objective, course.material, plan, dtype=dtype, on_step=on_step
    )
    skipped = dict(course.skipped + objective.skipped)
    writer.write(last)
    figures = _held_out(system, course, progress("held-out answers"))
    _log.info("starter_trained", steps=last.number, seconds=last.seconds, **figures)
    return writer.write(last, held_out=figures, skipped=skipped)


def continue_from(model: Model, folder: Path) -> dict[str, Any]:
    """Puts a starter's weights into the model's reader; what its card says of its own training.

    :raises NotFound: if the folder has no starter of the model's base.
    :raises Corrupt: if the starter is damaged.
    """
    found = find_starter(model.config.base_sha256, folder)
    if found is None:
        raise NotFound(f"{folder} has no starter for the base {model.config.base_name}")
    weights = {**model.reader.state_dict(), **found.weights()}
    model.reader.load_state_dict(build_reader(model.config, weights).state_dict())
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    told = ("command", "plan", "training", "held_out", "sha256", "continues")
    return {name: card.get(name) for name in told}


class _Writer:
    """Keeps a usable starter on disk while training goes on."""

    def __init__(self, model: Model, to: Path, about: dict[str, Any]) -> None:
        self._model = model
        self._to = to
        self._about = about
        self._names = list(learning(model.reader))
        self._written = 0.0
        self._loss = math.nan

    def observe(self, step: Step) -> None:
        if math.isfinite(step.loss):
            # A plain mean at first, then a moving one over some 50 steps.
            weight = max(1 / step.number, 0.02)
            known = math.isfinite(self._loss)
            self._loss = self._loss + weight * (step.loss - self._loss) if known else step.loss
        if step.seconds - self._written >= SAVE_SECONDS:
            self._written = step.seconds
            self.write(step)
            _log.info("starter_saved", step=step.number, of=step.planned, loss=self._loss)

    def write(self, step: Step, **figures: Any) -> dict[str, Any]:
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


def _facts(model: Model, course: Course, plan: Plan, system: System) -> dict[str, Any]:
    settings = dataclasses.asdict(plan)
    if math.isinf(plan.seconds):
        settings["seconds"] = None
    return {
        "base_name": model.config.base_name,
        "base_sha256": model.config.base_sha256,
        "span_hidden_size": model.config.span_hidden_size,
        "max_span_width": model.config.max_span_width,
        "plan": settings,
        "questions_taught": len(course.material),
        "machine": report.machine(
            torch.get_num_threads(), str(system.reader.device), str(system.dtype)
        ),
        "version": report.version(),
        "commit": report.commit(),
    }


def _held_out(
    system: System, course: Course, on_progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """EM and F1 on questions of held-out documents, read in the best passages of all."""
    texts = read_answers(system, [reading for _, reading in course.held_out], on_progress)
    asked = [question for question, _ in course.held_out]
    pairs = list(zip(asked, texts, strict=True))
    return {
        "questions": len(pairs),
        "em": mean([float(is_exact(question, text)) for question, text in pairs]),
        "f1": mean([scoring.f1(text, question.answers) for question, text in pairs]),
    }
