"""Retrievers by the recipes of the literature, trained on local files: ORQA, DPR, REALM.

What comes out is a whole model. Its reader is the one that it began with unless asked otherwise,
so that answers of two such models differ by what they retrieve.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from realm.corpus.documents import Document
from realm.corpus.passages import Passage
from realm.errors import InvalidInput
from realm.evaluation.parallel import OnProgress, Progress, no_progress_bars
from realm.evaluation.report import provenance
from realm.evaluation.searching import split_documents
from realm.evaluation.systems import Recipe
from realm.model.adapters import remove_adapters
from realm.model.base import public_name
from realm.model.checkpoint import Model
from realm.objectives.objective import Objective, ObjectiveSetup, make_objectives
from realm.objectives.sources import Questions
from realm.objectives.taggers import make_tagger
from realm.recipes.local import LocalIndex, Phase, Step, endless, train
from realm.settings import Settings
from realm.text.questions import Question
from realm.training.learner import Learner, train_dtype

WARM_START_SHARE = 0.25  # of the time, where time is limited
SMOOTHING = 0.95
LOG_STEPS = 20

_log = structlog.get_logger(__name__)

#: The objectives of each recipe, in their order; each has a phase of its own.
OBJECTIVES = {
    Recipe.ICT: ("inverse_cloze",),
    Recipe.DPR: ("dpr",),
    Recipe.REALM: ("inverse_cloze", "masked_lm"),
    Recipe.OPEN_QA: ("open_qa",),
}

#: Those that learn from questions, which must be given.
FROM_QUESTIONS = frozenset({Recipe.DPR, Recipe.OPEN_QA})

#: Settings beside the plan that a training follows from: its card tells them.
REPORTED_SETTINGS = (
    "seed",
    "train_passage_tokens",
    "trainable_layers",
    "inverse_cloze_batch",
    "masked_lm_batch",
    "masked_lm_masks",
    "masked_lm_span_term",
    "candidates",
    "dpr_batch",
    "hard_negatives",
    "open_qa_batch",
    "open_qa_beam",
    "open_qa_read",
    "retrieval_encoder",
    "scale_learning_rate",
    "reader_learning_rate",
    "masked_lm_head_learning_rate",
)


@dataclass(frozen=True, slots=True)
class RetrieverPlan:
    """How to train: `steps` by the recipe's own objective, after `warm_start_steps` by inverse
    cloze in the recipe realm. `seconds` ends it early.
    """

    recipe: Recipe
    steps: int = 400
    warm_start_steps: int = 100
    refresh_every: int = 100
    learning_rate: float = 2e-5
    seconds: float = math.inf
    keep_trained_reader: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.refresh_every) < 1 or self.warm_start_steps < 0:
            raise InvalidInput(
                "a retriever is trained for a step at least: give --steps and --refresh-every of 1"
                " or more, --warm-start of 0 or more"
            )
        if not self.learning_rate > 0:
            raise InvalidInput("a learning rate of 0 learns nothing: give --lr above 0")


def train_retriever(
    model: Model,
    documents: Sequence[Document],
    questions: Sequence[Question],
    plan: RetrieverPlan,
    settings: Settings,
    *,
    progress: Progress = no_progress_bars,
) -> dict[str, Any]:
    """Trains the model's retriever in place; what its card says of the training.

    :param documents: those to learn from, which are also what is searched.
    :param questions: for dpr and open-qa; the others need none.

    :raises InvalidInput: if a recipe that learns from questions has none, or open-qa would learn
        with one tower for both sides.
    :raises NotReady: if documents or questions hold too little of use.
    :raises Diverged: if loss or gradient is not finite.
    """
    if plan.recipe in FROM_QUESTIONS and not questions:
        raise InvalidInput(f"the recipe {plan.recipe} learns from questions: give --questions FILE")
    if plan.recipe is Recipe.OPEN_QA:
        if model.config.shared_towers:
            raise InvalidInput(
                "open-qa moves the query encoder over an index that stays: give a model with two"
                " towers (`realm.model.checkpoint.with_own_query_encoder` makes one)"
            )
        # What the reader reads is chosen by the encoder that learns, as in ORQA, section 5.
        settings = settings.replace(retrieval_encoder="fresh")
    passages = split_documents(documents, model.inputs)
    before = copy.deepcopy(model.reader.state_dict())
    began = time.monotonic()
    run = _RecipeRun(model, passages, questions, plan, settings, progress)
    phases = [run.phase(name) for name in OBJECTIVES[plan.recipe]]
    for part in (model.retriever, model.reader):
        remove_adapters(part, merge=True)
    if not plan.keep_trained_reader:
        model.reader.load_state_dict(before)
    return {
        "recipe": plan.recipe.value,
        "plan": {**asdict(plan), "seconds": None if math.isinf(plan.seconds) else plan.seconds},
        "settings": {
            **{name: settings.get(name) for name in REPORTED_SETTINGS},
            "salient_tagger": settings.objectives.salient_tagger
            and public_name(settings.objectives.salient_tagger),
        },
        "phases": phases,
        "documents": len(documents),
        "passages": len(passages),
        "questions": len(questions),
        "seconds": round(time.monotonic() - began, 1),
        "reader": "trained along" if plan.keep_trained_reader else "as it was before",
        "base": {"name": model.config.base_name, "sha256": model.config.base_sha256},
        **provenance(
            model.retriever.passage.device,
            train_dtype(settings, model.retriever.passage.device),
        ),
    }


class _RecipeRun:
    """What all phases of one training share: the clock, the index, the passages."""

    def __init__(
        self,
        model: Model,
        passages: list[Passage],
        questions: Sequence[Question],
        plan: RetrieverPlan,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self._model = model
        self._passages = passages
        self._questions = questions
        self._plan = plan
        self._settings = settings
        self._progress = progress
        self._began = time.monotonic()
        device = model.retriever.passage.device
        self._index = LocalIndex(
            model,
            passages,
            query_encoder=settings.trainer.retrieval_encoder,
            dtype=train_dtype(settings, device),
        )

    def phase(self, name: str) -> dict[str, Any]:
        """Trains by one objective; its name, steps taken, last figures and what it skipped."""
        is_warm_start = name != OBJECTIVES[self._plan.recipe][-1]
        steps = self._plan.warm_start_steps if is_warm_start else self._plan.steps
        until = self._began + self._plan.seconds * (WARM_START_SHARE if is_warm_start else 1)
        settings = self._settings.replace(
            objectives=name,
            max_steps=steps,
            warmup_steps=steps // 10,
            schedule="linear" if steps else "constant",
            retriever_learning_rate=self._plan.learning_rate,
        )
        objective = self._objective(settings)
        figures = _Figures(self._progress(name))
        taken = train(
            Learner(self._model, settings),
            Phase(objective, steps, self._refresh_every(objective, steps)),
            endless(self._passages, settings.trainer.seed),
            index=self._index,
            seed=settings.trainer.seed,
            seconds=until - time.monotonic(),
            on_step=figures.observe,
        )
        return {
            "objective": name,
            "steps": taken,
            "planned_steps": steps,
            "figures": figures.rounded(),
            "skipped": dict(objective.skipped),
        }

    def _refresh_every(self, objective: Objective[Any], steps: int) -> int:
        if not objective.needs_index:
            return 0
        # The passages' vectors stay: they are computed before the first step, and never again.
        return steps if self._plan.recipe is Recipe.OPEN_QA else self._plan.refresh_every

    def _objective(self, settings: Settings) -> Objective[Any]:
        setup = ObjectiveSetup(
            settings,
            self._model,
            self._index,
            make_tagger(settings.objectives.salient_tagger, self._model.retriever.passage.device),
            Questions(self._questions),
        )
        (made,) = make_objectives(setup)
        return made


class _Figures:
    """Moving averages of a phase's figures."""

    def __init__(self, bar: OnProgress) -> None:
        self._bar = bar
        self._known: dict[str, float] = {}

    def observe(self, step: Step) -> None:
        for name, figure in step.figures.items():
            before = self._known.get(name, figure)
            self._known[name] = SMOOTHING * before + (1 - SMOOTHING) * figure
        self._bar(step.number, step.planned)
        if step.number % LOG_STEPS == 0:
            _log.info("trained", step=step.number, of=step.planned, **self.rounded())

    def rounded(self) -> dict[str, float]:
        return {name: round(figure, 4) for name, figure in self._known.items()}
