"""Steps: the mix of objectives, and the fallback when the index fails."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, to_table
from realm.errors import DependencyUnavailable, Diverged, NotReady
from realm.model.checkpoint import Model
from realm.objectives.candidates import Asked, Beam, Candidate, TrainingSearch
from realm.objectives.objective import all_objectives
from realm.objectives.sources import Questions
from realm.retrieval import Retrieval
from realm.settings import Settings
from realm.text.questions import Question
from services.trainer.checkpoints import Origin
from services.trainer.data import CorpusView, Sampler
from services.trainer.run import make_runner
from services.trainer.step import StepRunner
from tests import tiny
from tests.unit.objectives.searches import ExactSearch


class Gone:
    """An index that does not answer."""

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        raise DependencyUnavailable("Qdrant does not serve")

    def beams(self, asked: Sequence[Asked], limit: int) -> list[Beam]:
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
) -> StepRunner:
    origin = Origin(model, 0, None, unpublished=False)
    return make_runner(settings, origin, search, questions=Questions(questions))


def _founder(passage: Passage) -> str:
    return next(name for name in tiny.NAMES if f"by {name} " in passage.text)


def test_both_objectives_get_their_turn(model: Model, corpus: list[Passage]) -> None:
    runner = make(model, ExactSearch(model, corpus), tiny.settings())
    sampler = Sampler(view_of(corpus), 0)
    reports = [runner.step(sampler, has_index=True) for _ in range(8)]
    assert {report.objective for report in reports} == {"inverse_cloze", "masked_lm"}
    assert [report.step for report in reports] == list(range(1, 9))
    assert all(set(report.seconds) == {"batch", "loss", "learn"} for report in reports)


def test_without_an_index_what_needs_none_has_every_step(
    model: Model, corpus: list[Passage]
) -> None:
    runner = make(model, Gone(), tiny.settings(objectives="inverse_cloze=1,masked_lm=3"))
    sampler = Sampler(view_of(corpus), 0)
    reports = [runner.step(sampler, has_index=False) for _ in range(8)]
    assert {report.objective for report in reports} == {"inverse_cloze"}
    assert {report.fallback for report in reports} == {None, "no_index"}


def test_an_index_that_fails_costs_no_step(model: Model, corpus: list[Passage]) -> None:
    runner = make(model, Gone(), tiny.settings(objectives="inverse_cloze=1e-9,masked_lm=1"))
    report = runner.step(Sampler(view_of(corpus), 0), has_index=True)
    assert (report.objective, report.fallback) == ("inverse_cloze", "dependency_unavailable")
    assert report.step == runner.learner.step == 1


@pytest.mark.parametrize("has_index", [True, False])
def test_nothing_is_learnt_by_an_objective_without_weight(
    model: Model, corpus: list[Passage], has_index: bool
) -> None:
    runner = make(model, Gone(), tiny.settings(objectives="inverse_cloze=0,masked_lm=1"))
    with pytest.raises(NotReady, match="every objective of REALM_OBJECTIVES needs the index"):
        runner.step(Sampler(view_of(corpus), 0), has_index=has_index)
    assert runner.learner.step == 0
    assert [objective.name for objective in runner.objectives] == ["masked_lm"]


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
    runner = make(model, ExactSearch(model, corpus), chosen, asked)
    sampler = Sampler(view_of(corpus), 0)
    reports = [runner.step(sampler, has_index=True) for _ in range(16)]
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
    runner = make(model, Gone(), tiny.settings())
    sampler = Sampler(view_of(corpus), 0)
    runner.step(sampler, has_index=False)
    model.retriever.log_scale.data.fill_(float("nan"))
    with pytest.raises(Diverged, match="inverse_cloze at step 2"):
        runner.step(sampler, has_index=False)
