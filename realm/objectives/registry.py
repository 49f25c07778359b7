"""The objectives that settings ask for, made from an index, questions and a tagger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realm.mixture import Mixture
from realm.model.checkpoint import Model
from realm.objectives.candidates import TrainingSearch, WordSearch
from realm.objectives.cloze_qa import ClozeQA
from realm.objectives.dpr import DPR
from realm.objectives.inverse_cloze import InverseCloze
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.masking import mask_chooser
from realm.objectives.objective import Objective
from realm.objectives.open_qa import QuestionAnswering
from realm.objectives.questions import Questions
from realm.objectives.reading import ReaderLoss
from realm.settings import Settings
from realm.text.salient_spans import SpanTagger

#: Those that learn from questions, which are read only if one of these has a weight.
FROM_QUESTIONS = frozenset({"open_qa", "dpr"})


def make_objectives(
    settings: Settings,
    model: Model,
    search: TrainingSearch,
    tagger: SpanTagger,
    *,
    questions: Questions | None = None,
    words: WordSearch | None = None,
) -> list[Objective[Any]]:
    """Those with a weight in `settings.objectives.objectives`, in its order.

    :param words: BM25, for hard negatives.
    """
    maker = _Maker(settings, model, search, tagger, questions or Questions(), words)
    made: dict[str, Callable[[], Objective[Any]]] = {
        "inverse_cloze": maker.inverse_cloze,
        "masked_lm": maker.masked_lm,
        "cloze_qa": maker.cloze_qa,
        "open_qa": maker.open_qa,
        "dpr": maker.dpr,
    }
    return [made[name]() for name in Mixture.parse(settings.objectives.objectives).names]


class _Maker:
    def __init__(
        self,
        settings: Settings,
        model: Model,
        search: TrainingSearch,
        tagger: SpanTagger,
        questions: Questions,
        words: WordSearch | None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._inputs = model.inputs
        self._search = search
        self._tagger = tagger
        self._questions = questions
        self._words = words

    def inverse_cloze(self) -> InverseCloze:
        return InverseCloze(
            self._inputs,
            batch_size=self._settings.objectives.inverse_cloze_batch,
            removal_share=self._settings.objectives.trivial_removal_share,
            passage_tokens=self._settings.objectives.train_passage_tokens,
        )

    def masked_lm(self) -> MaskedLM:
        return MaskedLM(
            self._inputs,
            mask_chooser(self._settings.objectives.masked_lm_masks, self._tagger),
            self._search,
            batch_size=self._settings.objectives.masked_lm_batch,
            candidates=self._settings.model.candidates,
            passage_tokens=self._settings.objectives.train_passage_tokens,
            span_term=self._settings.objectives.masked_lm_span_term,
        )

    def cloze_qa(self) -> ClozeQA:
        return ClozeQA(
            self._inputs,
            self._tagger,
            self._search,
            self._reading(),
            batch_size=self._settings.objectives.cloze_qa_batch,
            read=self._settings.objectives.open_qa_read,
            passage_tokens=self._settings.objectives.train_passage_tokens,
        )

    def open_qa(self) -> QuestionAnswering:
        return QuestionAnswering(
            self._inputs,
            self._questions,
            self._search,
            # A cloze always has its answer before it; a question need not, as in serving.
            self._reading(null=self._model.reader.answers.null),
            batch_size=self._settings.objectives.open_qa_batch,
            beam=self._settings.objectives.open_qa_beam,
            read=self._settings.objectives.open_qa_read,
        )

    def dpr(self) -> DPR:
        return DPR(
            self._inputs,
            self._questions,
            self._search,
            batch_size=self._settings.objectives.dpr_batch,
            hard_negatives=self._settings.objectives.hard_negatives,
            passage_tokens=self._settings.objectives.train_passage_tokens,
            words=self._words,
        )

    def _reading(self, *, null: bool = False) -> ReaderLoss:
        """The reader reads as much of a passage as the retriever does, beside the question.

        :param null: whether "no answer" is learnt too; only where the reader has begun to know it.
        """
        passage = self._settings.objectives.train_passage_tokens or self._inputs.limits.passage
        tokens = passage + self._settings.model.query_tokens
        return ReaderLoss(
            self._inputs,
            max_span_width=self._model.config.max_span_width,
            reader_tokens=min(tokens, self._settings.model.reader_tokens),
            null=null,
        )
