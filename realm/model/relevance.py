"""Relevance f(x, z) = s·⟨Embed(x), Embed(z)⟩ + w·c(x, z)·BM25(x, z), and p(z|x) from it:
torch-free.

c(x, z) is how much of the question the passage covers: its BM25 score as a share of the weights of
all terms of the question. A passage that shares what is rare in a question, and most of it, is
right; one that shares "how", "my" and "can" with a question in other words is not, and vectors
decide there. A snapshot of an earlier release has no c.

One number ranks passages, weighs them for the reader and learns. s and w are the snapshot's; the
statistics behind BM25 are the generation's (`realm.search.word_statistics`), so f is of one
version. With w = 0 it is the paper's own (REALM, section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

#: w of a new model, and of a snapshot that was written before there was one.
FIRST_WORD_WEIGHT = 1.0

Numbers = TypeVar("Numbers", NDArray[np.float64], "Tensor")


def relevance(scale: Numbers, word_weight: Numbers, products: Numbers, words: Numbers) -> Numbers:
    """f(x, z) of inner products and what w multiplies, in whatever shape both have."""
    return scale * products + word_weight * words


@dataclass(frozen=True, slots=True)
class Relevance:
    """The two weights of a snapshot: s of the inner product, w of the words.

    :param coverage: whether a BM25 score counts as far as it covers the question, c(x, z).
    """

    scale: float
    word_weight: float = FIRST_WORD_WEIGHT
    coverage: bool = False

    def __call__(
        self, products: NDArray[np.float32], words: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """f(x, z), of arrays of one shape; `words` is what w multiplies."""
        wide = products.astype(np.float64), words.astype(np.float64)
        return relevance(np.array(self.scale), np.array(self.word_weight), *wide)

    def words(self, scores: NDArray[np.float32], most: float) -> NDArray[np.float32]:
        """What w multiplies: of BM25 scores c(x, z)·BM25(x, z), or the scores themselves.

        :param most: the weights of all terms of the question together.
        """
        if not self.coverage or most <= 0:
            return scores
        return scores * scores / np.float32(most)


#: The inner product itself, where nothing is known of s and w.
DENSE_ONLY = Relevance(1.0, 0.0)


def relevance_metadata(found: Relevance) -> dict[str, str]:
    """s, w and whether there is c, as a file's metadata says them."""
    return {name: repr(value) for name, value in asdict(found).items()}


def relevance_from(metadata: Mapping[str, str]) -> Relevance:
    """What `relevance_metadata` says; the inner product alone where nothing is said."""
    try:
        scale, word_weight = float(metadata["scale"]), float(metadata["word_weight"])
    except KeyError:
        return DENSE_ONLY
    return Relevance(scale, word_weight, metadata.get("coverage") == repr(True))


def log_probabilities(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p(z|x) [k]: the log-softmax of f(x, z) over the passages found (REALM, eq. 1)."""
    if not len(scores):
        return scores
    shifted = scores - scores.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
