"""Relevance f(x, z) = s·⟨Embed(x), Embed(z)⟩ + w·BM25(x, z), and p(z|x) from it: torch-free.

One number ranks passages, weighs them for the reader and learns. s and w are the snapshot's; the
statistics behind BM25 are the generation's (`realm.search.word_statistics`), so f is of one
version. With w = 0 it is the paper's own (REALM, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

#: w of a new model, and of a snapshot that was written before there was one.
FIRST_WORD_WEIGHT = 1.0

Numbers = TypeVar("Numbers", NDArray[np.float64], "Tensor")


def relevance(scale: Numbers, word_weight: Numbers, products: Numbers, words: Numbers) -> Numbers:
    """f(x, z) of inner products and BM25 scores, in whatever shape both have."""
    return scale * products + word_weight * words


@dataclass(frozen=True, slots=True)
class Relevance:
    """The two weights of a snapshot: s of the inner product, w of BM25."""

    scale: float
    word_weight: float = FIRST_WORD_WEIGHT

    def __call__(
        self, products: NDArray[np.float32], words: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """f(x, z), of arrays of one shape."""
        wide = products.astype(np.float64), words.astype(np.float64)
        return relevance(np.array(self.scale), np.array(self.word_weight), *wide)


#: The inner product itself, where nothing is known of s and w.
DENSE_ONLY = Relevance(1.0, 0.0)


def relevance_metadata(found: Relevance) -> dict[str, str]:
    """s and w as a file's metadata says them."""
    return {name: repr(value) for name, value in asdict(found).items()}


def relevance_from(metadata: Mapping[str, str]) -> Relevance:
    """What `relevance_metadata` says; the inner product alone where nothing is said."""
    names = [field.name for field in fields(Relevance)]
    if not all(name in metadata for name in names):
        return DENSE_ONLY
    return Relevance(*(float(metadata[name]) for name in names))


def log_probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p(z|x) [k]: the log-softmax of f(x, z) over the passages found (REALM, eq. 1)."""
    if not len(scores):
        return scores
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
