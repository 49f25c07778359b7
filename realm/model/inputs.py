"""What the model reads: the one place where text or token ids become a model input.

Trainer, embedder, indexer and gateway all call these functions, so that training and index
never drift apart. Torch-free on purpose: the indexer cuts passages with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from realm.errors import Corrupt, InvalidInput
from realm.text import terms

#: Increase it whenever sentences or passages are cut differently: stored passages no longer fit.
SPLITTER = 1
#: Least room for a body in word pieces: one character may be several (a Hangul syllable is 3).
MIN_BODY_TOKENS = 8


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Lengths in word pieces, special tokens included (REALM, section 4 and appendix)."""

    passage: int = 288
    title: int = 64
    query: int = 96
    reader: int = 384


@dataclass(frozen=True, slots=True)
class Encoded:
    """One model input, not padded: token ids and segment ids of equal length."""

    ids: list[int]
    segments: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class InputBuilder:
    """Builds encoder and reader inputs for one tokenizer.

    The special tokens are found by name, so any BERT-type vocabulary serves.
    """

    def __init__(self, tokenizer: Tokenizer, limits: InputLimits = InputLimits()) -> None:
        self.tokenizer = tokenizer
        self.limits = limits
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        # "[SEP]" in a user's text is five characters, never the separator.
        self.tokenizer.encode_special_tokens = True
        self.cls = self._special("[CLS]")
        self.sep = self._special("[SEP]")
        self.pad = self._special("[PAD]")
        self.mask = self._special("[MASK]")

    @classmethod
    def from_folder(cls, folder: Path, limits: InputLimits = InputLimits()) -> InputBuilder:
        """Reads `tokenizer.json`.

        :raises Corrupt: if the file is missing or unreadable.
        """
        path = folder / "tokenizer.json"
        try:
            return cls(Tokenizer.from_file(str(path)), limits)
        except Exception as error:  # the tokenizers library raises bare Exception
            raise Corrupt(f"{path} is not a readable tokenizer: {error}", file=path) from error

    @property
    def fingerprint(self) -> str:
        """Names tokenizer, lengths and terms: passages cut with another one do not fit."""
        described = json.dumps(
            [
                self.tokenizer.to_str(),
                self.limits.passage,
                self.limits.title,
                SPLITTER,
                terms.VERSION,
            ]
        )
        return hashlib.sha256(described.encode()).hexdigest()[:16]

    def tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Word piece ids of `text`, without special tokens, and their character offsets."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def title_ids(self, title: str) -> list[int]:
        return self.tokenize(title)[0][: self.limits.title]

    def body_budget(self, title_ids: Sequence[int]) -> int:
        """How many word pieces a passage's body may have beside this title."""
        return self.limits.passage - 3 - len(title_ids)

    def passage(self, title_ids: Sequence[int], body_ids: Sequence[int]) -> Encoded:
        """`[CLS] title [SEP] body [SEP]`, segments 0 and 1."""
        body = body_ids[: self.body_budget(title_ids)]
        head = [self.cls, *title_ids, self.sep]
        return Encoded([*head, *body, self.sep], [0] * len(head) + [1] * (len(body) + 1))

    def null_passage(self) -> Encoded:
        """The null document ∅: `[CLS] [SEP] [SEP]`."""
        return self.passage([], [])

    def query_from_ids(self, ids: Sequence[int]) -> Encoded:
        """`[CLS] x [SEP]`, cut at the query's length."""
        kept = ids[: self.limits.query - 2]
        return Encoded([self.cls, *kept, self.sep], [0] * (len(kept) + 2))

    def query(self, text: str) -> Encoded:
        """:raises InvalidInput: if nothing is left of the text after normalisation."""
        ids, _ = self.tokenize(text)
        if not ids:
            raise InvalidInput("the question is empty: give at least one word", field="question")
        return self.query_from_ids(ids)

    def reader(self, question_ids: Sequence[int], body_ids: Sequence[int]) -> Encoded:
        """`[CLS] x [SEP] body [SEP]`: the reader sees no title (REALM's code)."""
        question = question_ids[: self.limits.query - 2]
        head = [self.cls, *question, self.sep]
        body = body_ids[: self.limits.reader - len(head) - 1]
        return Encoded([*head, *body, self.sep], [0] * len(head) + [1] * (len(body) + 1))

    def _special(self, token: str) -> int:
        found: int | None = self.tokenizer.token_to_id(token)
        if found is None:
            raise Corrupt(f"the tokenizer has no {token}: a BERT-type vocabulary is needed")
        return found
