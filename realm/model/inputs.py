"""What the model reads: the one place where text or token ids become a model input.

Trainer, embedder, indexer and gateway all call these functions, so that training and index
never drift apart. Training and answering both take the spans of a reader's input from here: what
is taught is what is served. Torch-free on purpose: the indexer cuts passages with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tokenizers import Tokenizer

from realm.errors import BadSettings, Corrupt, InvalidInput
from realm.model.pieces import Pieces, without_space
from realm.text import terms
from realm.text.scripts import share_in

#: Increase it whenever sentences or passages are cut differently: stored passages no longer fit.
SPLITTER = 2
#: BERT's names and RoBERTa's.
SPECIAL_TOKENS = {
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "pad": ("[PAD]", "<pad>"),
    "mask": ("[MASK]", "<mask>"),
}
#: Of a vector: as good as nothing beside words, and by itself it still ranks as it would.
LEAST_WEIGHT = 0.01
#: Least room for a body in word pieces: one character may be several (a Hangul syllable is 3).
MIN_BODY_TOKENS = 8
#: Of a question's text: no script has longer ones, but for whole words that a vocabulary knows.
CHARACTERS_A_PIECE = 32


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Lengths in word pieces, special tokens included (REALM, section 4 and appendix)."""

    passage: int = 288
    title: int = 64
    query: int = 96
    reader: int = 384


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a base was trained to find before each question and each passage ("query: " in E5)."""

    query: str = ""
    passage: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One model input, not padded: token ids and segment ids of equal length.

    `weight` multiplies its vector: less than 1 where the model does not know the question's script.
    """

    ids: list[int]
    segments: list[int]
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.ids)


class InputBuilder:
    """Builds encoder and reader inputs for one tokenizer.

    The special tokens are found by name, so any BERT-type or RoBERTa-type vocabulary
    serves; below, `[CLS]` and `[SEP]` stand for either. Prompts stand in the
    encoders' inputs alone: offsets are those of the text, and the reader sees no prompt.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        limits: InputLimits = InputLimits(),
        prompts: Prompts = Prompts(),
        scripts: str = "",
    ) -> None:
        """:param scripts: those that the model knows, parted by spaces; empty: all.
        :raises BadSettings: if a prompt leaves no room beside it.
        """
        self.tokenizer = tokenizer
        self.limits = limits
        self.prompts = prompts
        self.scripts = scripts
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # "[SEP]" in a user's text is five characters, never the separator.
        self.tokenizer.encode_special_tokens = True
        self.pieces = Pieces(tokenizer)
        self.cls, self.sep, self.pad, self.mask = map(self._special, SPECIAL_TOKENS)
        self._query_prompt = self.tokenize(prompts.query.rstrip())[0]
        self._passage_prompt = self.tokenize(prompts.passage.rstrip())[0]
        if prompts.query and len(self._query_prompt) + 2 >= limits.query:
            raise BadSettings(
                f"the prompt {prompts.query!r} leaves no room in a query of {limits.query} word"
                " pieces: give longer queries"
            )
        if prompts.passage and self.longest_title < 0:
            raise BadSettings(
                f"the prompt {prompts.passage!r} leaves no room in a passage of {limits.passage}"
                " word pieces: give longer passages"
            )

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        limits: InputLimits = InputLimits(),
        prompts: Prompts = Prompts(),
        scripts: str = "",
    ) -> InputBuilder:
        """Reads `tokenizer.json`.

        :raises Corrupt: if the file is missing or unreadable.
        """
        path = folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise Corrupt(f"{path} is not a readable tokenizer: {error}", file=path) from error
        return cls(tokenizer, limits, prompts, scripts)

    @property
    def fingerprint(self) -> str:
        """Names tokenizer, lengths, terms and prompts: passages cut with others do not fit."""
        parts = [
            self.tokenizer.to_str(),
            self.limits.passage,
            self.limits.title,
            SPLITTER,
            terms.VERSION,
        ]
        if self.prompts != Prompts():  # earlier releases' snapshots have none, and keep their name
            parts += [self.prompts.query, self.prompts.passage]
        described = json.dumps(parts)
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Word piece ids of `text`, without special tokens, and their character offsets."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        offsets = encoding.offsets
        if self.pieces.marks_spaces:
            offsets = [without_space(text, start, end) for start, end in offsets]
        return encoding.ids, offsets

    @property
    def passage_frame(self) -> int:
        """Word pieces of a passage's input that are neither title nor body."""
        return 3 + len(self._passage_prompt)

    @property
    def longest_title(self) -> int:
        """In word pieces: beside it every body keeps its least room."""
        beside = self.limits.passage - self.passage_frame - MIN_BODY_TOKENS
        return min(self.limits.title, beside)

    def title_ids(self, title: str) -> list[int]:
        longest = self.longest_title if self._passage_prompt else self.limits.title
        return self.tokenize(title)[0][:longest]

    def body_budget(self, title_ids: Sequence[int]) -> int:
        """How many word pieces a passage's body may have beside this title."""
        return self.limits.passage - self.passage_frame - len(title_ids)

    def passage(self, title_ids: Sequence[int], body_ids: Sequence[int]) -> Encoded:
        """`[CLS] prompt title [SEP] body [SEP]`, segments 0 and 1."""
        body = body_ids[: self.body_budget(title_ids)]
        head = [self.cls, *self._passage_prompt, *title_ids, self.sep]
        return Encoded([*head, *body, self.sep], [0] * len(head) + [1] * (len(body) + 1))

    def null_passage(self) -> Encoded:
        """The null document ∅: a passage without title and body."""
        return self.passage([], [])

    def query_from_ids(self, ids: Sequence[int]) -> Encoded:
        """`[CLS] prompt x [SEP]`, cut at the query's length."""
        return self._query([*self._query_prompt, *ids])

    def _query(self, ids: Sequence[int]) -> Encoded:
        kept = ids[: self.limits.query - 2]
        return Encoded([self.cls, *kept, self.sep], [0] * (len(kept) + 2))

    def query(self, text: str) -> Encoded:
        """:raises InvalidInput: if nothing is left of the text after normalisation."""
        return self.question(text)[1]

    def question(self, text: str) -> tuple[str, Encoded]:
        """A question as far as a query has room for it, and its query. Looks no further than at
        `CHARACTERS_A_PIECE` for each word piece.

        :raises InvalidInput: if nothing is left of the text after normalisation.
        """
        text = text.lstrip()[: self.limits.query * CHARACTERS_A_PIECE]
        ids, offsets = self.tokenize(text)
        if not ids:
            raise InvalidInput("the question is empty: give at least one word", field="question")
        room = self.limits.query - 2 - len(self._query_prompt)
        read = text if len(ids) <= room else text[: offsets[room - 1][1]]
        if not self.prompts.query:
            return read, self._weighed(read, self.query_from_ids(ids))
        # As one text: a byte-level tokenizer has other pieces for a word after a space.
        query = self._query(self.tokenize(self.prompts.query + text)[0])
        return read, self._weighed(read, query)

    def _weighed(self, question: str, query: Encoded) -> Encoded:
        """A vector of letters that the model does not know says nothing: words rank then."""
        if not self.scripts:
            return query
        known = share_in(question, self.scripts.split())
        return replace(query, weight=max(known, LEAST_WEIGHT))

    def reader(self, question_ids: Sequence[int], body_ids: Sequence[int]) -> Encoded:
        """`[CLS] x [SEP] body [SEP]`: the reader sees no title (REALM's code)."""
        question = question_ids[: self.limits.query - 2]
        head = [self.cls, *question, self.sep]
        body = body_ids[: self.limits.reader - len(head) - 1]
        return Encoded([*head, *body, self.sep], [0] * len(head) + [1] * (len(body) + 1))

    def _special(self, role: str) -> int:
        for token in SPECIAL_TOKENS[role]:
            found: int | None = self.tokenizer.token_to_id(token)
            if found is not None:
                return found
        names = " or ".join(SPECIAL_TOKENS[role])
        raise Corrupt(f"the tokenizer has no {names}: a BERT-type vocabulary is needed")


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
        return cls.build_each(inputs, question, (text,))[0]

    @classmethod
    def build_each(
        cls, inputs: InputBuilder, question: str, texts: Iterable[str]
    ) -> list[ReaderInput]:
        """Of one question with each text."""
        question_ids, _ = inputs.tokenize(question)
        return [cls._build(inputs, question_ids, text) for text in texts]

    @classmethod
    def _build(cls, inputs: InputBuilder, question_ids: Sequence[int], text: str) -> ReaderInput:
        ids, offsets = inputs.tokenize(text)
        encoded = inputs.reader(question_ids, ids)
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
            read = inputs.pieces.read(piece)
            self._inside[number] = read.goes_on
            self._opens[number] = inputs.pieces.opens(read)
            self._closes[number] = inputs.pieces.closes(read)

    def whole_words(self, ids: Sequence[int], kept: int, widths: int) -> NDArray[np.bool_]:
        """Spans of the first `kept` pieces that start and end with a word [kept, widths]."""
        given = np.array(ids, np.int64)
        continues = self._inside[given] & ~self._opens[given]
        continues[1:] &= ~self._closes[given[:-1]]
        continues[:1] = False  # no word before it that it could go on with
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
    piece, previous = inputs.tokenizer.id_to_token, (-1, -1)
    for number, (start, end) in zip(ids, offsets, strict=True):
        yield inputs.pieces.continues(str(piece(number)), text, start, previous)
        previous = start, end
