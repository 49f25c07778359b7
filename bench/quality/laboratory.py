"""A model and what it has encoded: vectors are computed once and kept beside the results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from bench.quality.corpora import Corpus
from realm.evaluation.searching import (
    PassageVectors,
    Searcher,
    encode_passages,
    encode_questions,
    split_documents,
)
from realm.evaluation.systems import System, base_system
from realm.model.relevance import Relevance
from realm.model.runtime import best_dtype
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.exact import Found
from realm.settings import load_settings

PROBE = "What do these weights make of this question?"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A corpus cut and encoded: vectors [passages, size], `queries` [questions, size]."""

    system: System
    corpus: Corpus
    passages: PassageVectors
    queries: Vectors

    def search(self, way: Retrieval, k: int, relevance: Relevance | None = None) -> list[Found]:
        """The k best passages of each question; by the system's own s and w, or others."""
        searcher = Searcher(self.passages, way, relevance or self.system.relevance)
        asked = [one.question for one in self.corpus.questions]
        return searcher.search(asked, self.queries, k)


class Laboratory:
    """What a trainer publishes at step 0, asked about a corpus.

    :param base: a base's name or folder; empty: the packaged one with the shipped starter.
    """

    def __init__(self, folder: Path, base: str = "") -> None:
        self._folder = folder
        self._base = base

    @cached_property
    def system(self) -> System:
        device = torch.device("cpu")
        settings = load_settings(base_model=self._base)
        return base_system(settings, device, best_dtype(device))

    def encode(self, corpus: Corpus) -> Encoded:
        passages = split_documents(corpus.documents, self.system.inputs)
        asked = [one.question for one in corpus.questions]
        texts = [f"{one.title}\n{one.text}" for one in passages]

        def of_passages() -> Vectors:
            return encode_passages(self.system, passages).vectors

        vectors = self._kept("passages", texts, of_passages)
        queries = self._kept("questions", asked, lambda: encode_questions(self.system, asked))
        return Encoded(self.system, corpus, PassageVectors(passages, vectors), queries)

    def _kept(self, kind: str, texts: Sequence[str], encode: Callable[[], Vectors]) -> Vectors:
        """Vectors [texts, size], read if these texts were encoded before by the same weights: by
        those that make the same vectors of a probe."""
        digest = hashlib.sha256(self.system.base.encode())
        probe = self.system.inputs.query(PROBE)
        for encoder in (self.system.passage, self.system.query):
            digest.update(encoder.encode([probe]).tobytes())
        for text in texts:
            digest.update(text.encode() + b"\0")
        file = self._folder / "vectors" / f"{kind}-{digest.hexdigest()[:24]}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            whole = file.with_suffix(".part.npy")
            np.save(whole, encode())
            whole.replace(file)
        vectors: Vectors = np.load(file)
        return vectors
