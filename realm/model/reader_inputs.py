"""Where answers may stand: the body of a reader's input, its word pieces and its whole words.

Training and answering both take their spans from here, so that what is taught is what is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from realm.model.inputs import Encoded, InputBuilder
from realm.text.answers import is_spaceless


@dataclass(frozen=True, slots=True)
class ReaderInput:
    """A reader input, and of its body's word pieces where they stand and which end words.

    `first` is the body's first token in the input; `offsets` [pieces, 2] are characters of the
    passage; `begins` and `ends` [pieces] mark the first and the last piece of each word.
    """

    encoded: Encoded
    first: int
    offsets: NDArray[np.int64]
    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    @classmethod
    def build(cls, inputs: InputBuilder, question: str, text: str) -> ReaderInput:
        ids, offsets = inputs.tokenize(text)
        encoded = inputs.reader(inputs.tokenize(question)[0], ids)
        kept = max(0, sum(encoded.segments) - 1)
        continues = np.array([*_continues_word(inputs, text, ids, offsets), False], np.bool_)
        return cls(
            encoded=encoded,
            first=len(encoded) - 1 - kept,
            offsets=np.array(offsets, np.int64).reshape(-1, 2)[:kept],
            begins=~continues[:kept],
            # A word that the reader's length cuts in two has no end.
            ends=~continues[1 : kept + 1],
        )

    def whole_words(self, widths: int) -> NDArray[np.bool_]:
        """Spans that start and end with a word [pieces, widths]; [i, w] is pieces i … i + w."""
        return _word_spans(self.begins, self.ends, widths)


class WordBoundaries:
    """Whole words by word piece ids alone, for text that is stored tokenized.

    As in `ReaderInput`, except for words of scripts without spaces that the tokenizer does not
    know.
    """

    def __init__(self, inputs: InputBuilder) -> None:
        pieces = inputs.tokenizer.get_vocab()
        self._inside = np.zeros(max(pieces.values()) + 1, np.bool_)
        # Whether a word may begin before a piece, and after it, because of its script.
        self._opens, self._closes = self._inside.copy(), self._inside.copy()
        for piece, number in pieces.items():
            letters = piece.removeprefix("##")
            self._inside[number] = piece.startswith("##")
            self._opens[number] = is_spaceless(letters[:1])
            self._closes[number] = is_spaceless(letters[-1:])

    def whole_words(self, ids: Sequence[int], kept: int, widths: int) -> NDArray[np.bool_]:
        """Spans of the first `kept` pieces that start and end with a word [kept, widths]."""
        given = np.array(ids, np.int64)
        continues = self._inside[given] & ~self._opens[given]
        continues[1:] &= ~self._closes[given[:-1]]
        continues = np.append(continues, False)
        return _word_spans(~continues[:kept], ~continues[1 : kept + 1], widths)


def _word_spans(
    begins: NDArray[np.bool_], ends: NDArray[np.bool_], widths: int
) -> NDArray[np.bool_]:
    """Spans [pieces, widths] from a piece that begins a word to one that ends one."""
    padded = np.concatenate([ends, np.zeros(widths, np.bool_)])
    whole: NDArray[np.bool_] = begins[:, None] & sliding_window_view(padded, widths)[:-1]
    return whole


def _continues_word(
    inputs: InputBuilder, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]
) -> Iterator[bool]:
    """Of each piece whether it goes on with a word; without spaces words begin anywhere."""
    piece = inputs.tokenizer.id_to_token
    for number, (start, _) in zip(ids, offsets, strict=True):
        inside = str(piece(number)).startswith("##")
        yield inside and not any(map(is_spaceless, text[max(start - 1, 0) : start + 1]))
