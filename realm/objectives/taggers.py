"""Taggers by name: the rules, or any Hugging Face token-classification model.

REALM (section 3.4) tags with a BERT that was trained on CoNLL-2003, and dates by expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch

from realm.errors import BadSettings
from realm.text.salient_spans import Kind, RuleTagger, Span, SpanTagger

RULES = ("", "rules")
#: Entity types other than names, as data sets call them (OntoNotes, TIMEX, …).
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("DATE", "TIME", "TIMEX", "DURATION", "SET"), "date"),
    **dict.fromkeys(
        ("NUMBER", "NUM", "CARDINAL", "ORDINAL", "QUANTITY", "PERCENT", "MONEY"), "number"
    ),
}
_OUTSIDE = "O"
TEXT_BATCH = 64  # texts
CPU = torch.device("cpu")
_LEAST_WINDOW, _LONGEST_WINDOW = 8, 512


def make_tagger(name: str, device: torch.device = CPU) -> SpanTagger:
    """The tagger of `REALM_SALIENT_TAGGER`: empty or `rules`, a folder, or a hub name.

    :raises BadSettings: if there is no such model, or its labels are no entities.
    """
    return RuleTagger() if name in RULES else TokenClassificationTagger(name, device)


@dataclass(frozen=True, slots=True)
class _TaggedWord:
    """Characters [start, end) of one word, and its label: entity type, and whether it begins."""

    start: int
    end: int
    entity: str
    begins: bool


class TokenClassificationTagger:
    """Whole words of one entity, as a trained model labels them.

    A word has the label of its first piece; words side by side of one entity type are one span,
    unless a label says that another begins (B-).

    :raises BadSettings: if there is no such model, or its labels are no entities.
    """

    def __init__(self, name: str, device: torch.device = CPU) -> None:
        # Costly to import, and asked for by few.
        from transformers import AutoModelForTokenClassification, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True)
            self._model = AutoModelForTokenClassification.from_pretrained(name).eval()
            self._model.to(device)
        except (OSError, ValueError, KeyError) as error:
            raise BadSettings(
                f"REALM_SALIENT_TAGGER names {name}, of which no token-classification model can be"
                f" read: {error}"
            ) from error
        self._labels: dict[int, str] = dict(self._model.config.id2label)
        if _OUTSIDE not in self._labels.values() or len(self._labels) < 2:
            raise BadSettings(
                f"REALM_SALIENT_TAGGER names {name}, whose labels are"
                f" {', '.join(self._labels.values())}: one of them must be O, for words outside of"
                " entities"
            )
        if not self._tokenizer.is_fast:
            raise BadSettings(
                f"REALM_SALIENT_TAGGER names {name}, whose tokenizer gives no character offsets"
            )

    def tag_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """Disjoint, non-empty spans within each text, in order.

        Texts of like length go through the model together.
        """
        spans: list[list[Span]] = [[] for _ in texts]
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            words = self._words([texts[place] for place in chosen])
            for place, own in zip(chosen, words, strict=True):
                spans[place] = _spans(texts[place], own)
        return spans

    @torch.inference_mode()
    def _words(self, texts: list[str]) -> list[list[_TaggedWord]]:
        """Every word of each text, read in windows of the model's length."""
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._length(),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_tensors="pt",
            padding=True,
        )
        device = self._model.device
        logits = self._model(
            input_ids=encoded["input_ids"].to(device),
            attention_mask=encoded["attention_mask"].to(device),
        ).logits  # [windows, tokens, labels]
        best = logits.argmax(dim=-1).tolist()
        pieces = (
            ((int(text), word), *offsets, label)
            for window, (text, labels) in enumerate(
                zip(encoded["overflow_to_sample_mapping"], best, strict=True)
            )
            for word, offsets, label in zip(
                encoded.word_ids(window),
                encoded["offset_mapping"][window].tolist(),
                labels,
                strict=True,
            )
            if word is not None  # a special token, or padding
        )
        words: list[list[_TaggedWord]] = [[] for _ in texts]
        for (text, _), of_word in groupby(pieces, key=itemgetter(0)):
            found = list(of_word)
            start, end, label = found[0][1], found[-1][2], found[0][3]
            if start < end:
                prefix, _, rest = self._labels[label].partition("-")
                entity = (rest or prefix).upper()
                words[text].append(_TaggedWord(start, end, entity, prefix in ("B", "S")))
        return words

    def _length(self) -> int:
        positions = int(getattr(self._model.config, "max_position_embeddings", _LONGEST_WINDOW))
        longest = int(min(self._tokenizer.model_max_length, _LONGEST_WINDOW))
        return max(_LEAST_WINDOW, min(positions, longest))


def _spans(text: str, words: Sequence[_TaggedWord]) -> list[Span]:
    """WordBoundaries side by side of one entity type, unless another begins, are one span."""
    spans: list[Span] = []
    previous: _TaggedWord | None = None
    for word in words:
        if word.entity != _OUTSIDE:
            goes_on = (
                previous is not None
                and previous.entity == word.entity
                and not word.begins
                and not text[previous.end : word.start].strip()
            )
            begin = spans.pop().start if goes_on else word.start
            spans.append(Span(begin, word.end, _KINDS.get(word.entity, "name")))
        previous = word
    return [trimmed for span in spans if (trimmed := _trimmed(text, span))]


def _trimmed(text: str, span: Span) -> Span | None:
    """Without what surrounds the words: white space and marks that some tokenizers leave on."""
    start, end = span.start, span.end
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return Span(start, end, span.kind) if start < end else None
