"""Readers with noise: what it costs in questions that the gate does not ask, and what they
answer."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pyarrow as pa
import torch

from bench.datasets import QAExample
from bench.gate.layers import lower_layers_once
from realm.corpus.passages import Passage, to_table
from realm.model.checkpoint import Model
from realm.model.reader import Reader
from realm.model.runtime import best_dtype
from realm.text.questions import Question
from services.embedder.encoding import Compute, read_answers
from services.indexer.gate.readings import ANSWER, AnswerPassages, Reading, cloze_reading


class NoisyReaders:
    """The starter's reader, its `top` layers and its head changed.

    :param held_out: questions that cost is measured with; the probes are others.
    """

    def __init__(
        self, model: Model, held_out: Sequence[dict[str, str]], probes: pa.Table, top: int
    ) -> None:
        self._inputs = model.inputs
        self._held_out = pa.Table.from_pylist(list(held_out))
        self._probes = probes
        self._compute = Compute(None, best_dtype(model.reader.device))
        self._top = top
        self.reader = model.reader.eval()
        self.reader.runner = lower_layers_once(top)
        self.base = self._f1(self.reader)

    def answers(self, reader: Reader) -> list[str]:
        """To each of the gate's probes, as an embedder reads them."""
        return read_answers(reader, self._inputs, self._probes, self._compute)

    def cost(self, reader: Reader) -> float:
        """How far F1 falls in the held-out questions."""
        return self.base - self._f1(reader)

    def noisy(self, spread: float, seed: int) -> Reader:
        """With noise of `spread` times each parameter's own deviation."""
        reader = copy.deepcopy(self.reader)
        generator = torch.Generator().manual_seed(seed)
        layers = list(reader.get_submodule("backbone.encoder.layer").children())[-self._top :]
        with torch.no_grad():
            for part in (*layers, reader.qa_outputs):
                for parameter in part.parameters():
                    if parameter.numel() > 1:
                        noise = torch.randn(parameter.shape, generator=generator)
                        parameter.add_(noise * (spread * parameter.std()))
        return reader

    def _f1(self, reader: Reader) -> float:
        said = read_answers(reader, self._inputs, self._held_out, self._compute)
        found = Reading.of(self._held_out.append_column(ANSWER, pa.array(said)))
        return 0.0 if found is None else found.mean_f1


def readings_of(passages: Sequence[Passage], asked: Sequence[QAExample]) -> list[dict[str, str]]:
    """What readers are asked: questions of known answers; without any, cloze questions."""
    known = [Question(one.question, one.answers, document_id=one.document_id) for one in asked]
    holding = AnswerPassages(known)
    holding.look_through(to_table(list(passages)))
    read = [holding.reading(one) for one in known if one.answers]
    if not read:
        read = [cloze_reading(one.passage_id, one.text) for one in passages]
    return [one for one in read if one["answers"]]
