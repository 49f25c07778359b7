"""The retriever p(z|x): both towers, and the weights of relevance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from realm.model.config import ModelConfig
from realm.model.encoders import Encoder
from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance, relevance


class Retriever(nn.Module):
    """Two towers (or one for both), and the learned s, kept as its logarithm, and w of f(x, z)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.query = Encoder(config)
        self.passage = self.query if config.shared_towers else Encoder(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale_init)))
        self.word_weight = nn.Parameter(torch.tensor(FIRST_WORD_WEIGHT))
        self.coverage = config.coverage

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp()

    @property
    def relevance(self) -> Relevance:
        """s and w as they are now."""
        return Relevance(self.scale.item(), self.word_weight.item(), self.coverage)

    def set_relevance(self, relevance: Relevance) -> None:
        """Puts other s and w in their place, from which training goes on."""
        with torch.no_grad():
            self.log_scale.fill_(math.log(relevance.scale))
            self.word_weight.fill_(relevance.word_weight)

    def score(
        self, query_vectors: Tensor, passage_vectors: Tensor, words: Tensor | None = None
    ) -> Tensor:
        """f(x, z), see `realm.model.relevance`.

        Queries [b, size] with passages [n, size] for all pairs [b, n], or with each query's own
        candidates [b, k, size] for [b, k].

        :param words: what w multiplies, of each pair, in the result's shape; None: vectors alone.
        """
        if passage_vectors.dim() == 3:
            dots = torch.einsum("bd,bkd->bk", query_vectors, passage_vectors)
        else:
            dots = query_vectors @ passage_vectors.T
        if words is None:
            return self.scale * dots
        return relevance(self.scale, self.word_weight, dots, words.to(dots))
