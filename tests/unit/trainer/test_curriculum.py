"""Steps: the mix of objectives, the way out when the index fails, and exact resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, to_table
from realm.errors import DependencyUnavailable, Diverged, NotReady
from realm.model.checkpoint import Model, copy_model
from realm.model.inputs import Encoded
from realm.objectives.candidates import Beam, Candidate, TrainingSearch
from realm.objectives.objective import all_objectives
from realm.objectives.sources import Questions
from realm.records.store import Store
from realm.settings import Settings
from realm.text.questions import Question
from services.trainer.checkpoints import Checkpoint, Checkpoints
from services.trainer.corpus_view import CorpusView, Sampler
from services.trainer.curriculum import Curriculum, StepReport
from services.trainer.divergence import make_curriculum
from services.trainer.origin import Origin
from tests import tiny
from tests.unit.objectives.towns import ExactSearch


class Gone:
    """An index that does not answer."""

    def search(self, queries: Sequence[Encoded], limit: int) -> list[list[Candidate]]:
        raise DependencyUnavailable("Qdrant does not serve")

    def beams(self, queries: Sequence[Encoded], limit: int) -> list[Beam]:
        raise DependencyUnavailable("Qdrant does not serve")

    def of_document(self, document_id: str) -> list[Candidate]:
        return []


@pytest.fixture
def corpus(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs)


def view_of(corpus: list[Passage]) -> CorpusView:
    return CorpusView(("all",), {"all": to_table(corpus)})


def make(
    model: Model, search: TrainingSearch, settings: Settings, questions: Sequence[Question] = ()
) -> Curriculum:
    origin = Origin(model, 0, None, unpublished=False)
    return make_curriculum(settings, origin, search, questions=Questions(questions))


def _founder(passage: Passage) -> str:
    return next(name for name in tiny.NAMES if f"by {name} " in passage.text)


def figures(report: StepReport) -> tuple[int, str, dict[str, float]]:
    return report.step, report.objective, report.figures


def test_both_objectives_get_their_turn(model: Model, corpus: list[Passage]) -> None:
    curriculum = make(model, ExactSearch(model, corpus), tiny.settings())
    sampler = Sampler(view_of(corpus), 0)
    reports = [curriculum.step(sampler, has_index=True) for _ in range(8)]
    assert {report.objective for report in reports} == {"inverse_cloze", "masked_lm"}
    assert [report.step for report in reports] == list(range(1, 9))
    assert all(set(report.seconds) == {"batch", "loss", "learn"} for report in reports)


def test_without_an_index_what_needs_none_has_every_step(
    model: Model, corpus: list[Passage]
) -> None:
    curriculum = make(model, Gone(), tiny.settings(objectives="inverse_cloze=1,masked_lm=3"))
    sampler = Sampler(view_of(corpus), 0)
    reports = [curriculum.step(sampler, has_index=False) for _ in range(8)]
    assert {report.objective for report in reports} == {"inverse_cloze"}
    assert {report.fallback for report in reports} == {None, "no_index"}


def test_an_index_that_fails_costs_no_step(model: Model, corpus: list[Passage]) -> None:
    curriculum = make(model, Gone(), tiny.settings(objectives="inverse_cloze=1e-9,masked_lm=1"))
    report = curriculum.step(Sampler(view_of(corpus), 0), has_index=True)
    assert (report.objective, report.fallback) == ("inverse_cloze", "dependency_unavailable")
    assert report.step == curriculum.learner.step == 1


@pytest.mark.parametrize("has_index", [True, False])
def test_nothing_is_learnt_by_an_objective_without_weight(
    model: Model, corpus: list[Passage], has_index: bool
) -> None:
    curriculum = make(model, Gone(), tiny.settings(objectives="inverse_cloze=0,masked_lm=1"))
    with pytest.raises(NotReady, match="every objective of REALM_OBJECTIVES needs the index"):
        curriculum.step(Sampler(view_of(corpus), 0), has_index=has_index)
    assert curriculum.learner.step == 0
    assert [objective.name for objective in curriculum.objectives] == ["masked_lm"]


def test_all_objectives_learn_side_by_side(model: Model, corpus: list[Passage]) -> None:
    corpus = corpus[:24]  # so few that every search finds them all
    founded = [p for p in corpus if "founded" in p.text and not is_held_out(p.document_id)]
    asked = [
        Question(f"who founded {town.title}", (_founder(town),), None, town.document_id)
        for town in founded[:2]
    ]
    chosen = tiny.settings(
        objectives=",".join(all_objectives()), open_qa_beam=200, dpr_batch=2, cloze_qa_batch=1
    )
    curriculum = make(model, ExactSearch(model, corpus), chosen, asked)
    sampler = Sampler(view_of(corpus), 0)
    reports = [curriculum.step(sampler, has_index=True) for _ in range(16)]
    assert {report.objective for report in reports} == set(all_objectives())
    assert {report.fallback for report in reports} == {None}
    assert all(math.isfinite(report.figures["loss"]) for report in reports)


def test_a_checkpoint_of_fewer_objectives_serves_more(model: Model, corpus: list[Passage]) -> None:
    search = ExactSearch(model, corpus)
    before = make(model, search, tiny.settings(objectives="inverse_cloze"))
    after = make(model, search, tiny.settings())
    after.restore(before.state())
    assert set(after.state()) == {"inverse_cloze", "masked_lm"}


def test_divergence_names_objective_and_step(model: Model, corpus: list[Passage]) -> None:
    curriculum = make(model, Gone(), tiny.settings())
    sampler = Sampler(view_of(corpus), 0)
    curriculum.step(sampler, has_index=False)
    model.retriever.log_scale.data.fill_(float("nan"))
    with pytest.raises(Diverged, match="inverse_cloze at step 2"):
        curriculum.step(sampler, has_index=False)


def test_a_restart_repeats_an_uninterrupted_run_exactly(base: Path, store: Store) -> None:
    settings = tiny.settings(seed=1)
    index = tiny.make_model(base)
    uninterrupted = _train(tiny.make_model(base), index, settings, 6)
    objectives = [objective for _, objective, _ in uninterrupted]
    assert set(objectives[3:]) == {"inverse_cloze", "masked_lm"}, "both must be resumed into"

    model = tiny.make_model(base)
    first = _train(model, index, settings, 3, save=Checkpoints(store))
    found = Checkpoints(store).newest()
    assert found is not None
    second = _train(found.model, index, settings, 3, resume=found)
    assert first + second == uninterrupted


def _train(
    model: Model,
    indexed: Model,
    settings: Settings,
    steps: int,
    *,
    resume: Checkpoint | None = None,
    save: Checkpoints | None = None,
) -> list[tuple[int, str, dict[str, float]]]:
    """Steps over an index of the base's vectors, the same before and after a restart."""
    corpus = tiny.passages(model.inputs)
    curriculum = make(model, ExactSearch(indexed, corpus), settings)
    state: dict[str, Any] = {"epoch": 0, "position": 0}
    if resume is not None:
        curriculum.learner.restore(resume.optimizer, resume.step)
        curriculum.restore(resume.state["objectives"])
        state = resume.state["sampler"]
    sampler = Sampler(view_of(corpus), settings.trainer.seed, **state)
    reports = [curriculum.step(sampler, has_index=True) for _ in range(steps)]
    if save is not None:
        kept = {"sampler": sampler.state(), "objectives": curriculum.state()}
        optimizer = curriculum.learner.state()
        save.save(Checkpoint(curriculum.learner.step, copy_model(model), optimizer, kept))
    return [figures(report) for report in reports]
