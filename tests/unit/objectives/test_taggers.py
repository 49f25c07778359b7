"""Trained taggers: whole words of one entity, at the right characters, whatever the windows."""

from __future__ import annotations

import dataclasses
import random
from itertools import cycle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from realm.errors import BadSettings
from realm.objectives.masked_lm import MaskedLM
from realm.objectives.masking import SalientSpans
from realm.objectives.taggers import TokenClassificationTagger, make_tagger
from realm.text.salient_spans import RuleTagger, SpanTagger
from tests import tiny
from tests.tiny import SPECIAL
from tests.unit.objectives.searches import ExactSearch

#: By hand: what each first piece of a word is labelled.
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-DATE", "I-DATE", "MONEY"]
NAMED = {
    "marie": "B-PER",
    "curie": "I-PER",
    "pierre": "B-PER",
    "paris": "B-LOC",
    "rome": "I-LOC",
    "may": "B-DATE",
    "1867": "I-DATE",
    "dollars": "MONEY",
}
PIECES = [*SPECIAL, ".", ",", "-", "'", *NAMED, "was", "in", "##s", "##ing"]


def write_tagger(folder: Path, labels: list[str], positions: int = 16) -> Path:
    """A model that labels each piece by itself: attention and depth are cut off by weights of 0."""
    from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=len(PIECES),
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=positions,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    model = BertForTokenClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.zero_()
        words = model.bert.embeddings.word_embeddings.weight
        words.copy_(10 * torch.eye(len(PIECES)))
        for place, piece in enumerate(PIECES):
            label = NAMED.get(piece, "O")
            if label in labels:
                model.classifier.weight[labels.index(label), place] = 1.0
    model.save_pretrained(folder)
    tokenizer = BertWordPieceTokenizer(
        {piece: number for number, piece in enumerate(PIECES)}, lowercase=True
    )
    BertTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, model_max_length=positions
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagger(tmp_path_factory.mktemp("tagger"), LABELS)


@pytest.fixture(scope="module")
def tagger(folder: Path) -> SpanTagger:
    return make_tagger(str(folder))


def found(tagger: SpanTagger, text: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.kind) for span in tagger.tag_all([text])[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Marie Curie was in Paris.", [("Marie Curie", "name"), ("Paris", "name")]),
        # The label of the first piece is the word's.
        ("In May, 1867s", [("May", "date"), ("1867s", "date")]),
        # B- begins another span; I- without a B- begins one too.
        ("Marie Pierre Curie", [("Marie", "name"), ("Pierre Curie", "name")]),
        ("was Rome Paris Rome", [("Rome", "name"), ("Paris Rome", "name")]),
        # Another entity beside it is another span; what stands between parts them.
        ("Paris 1867 dollars", [("Paris", "name"), ("1867", "date"), ("dollars", "number")]),
        ("Marie - Curie", [("Marie", "name"), ("Curie", "name")]),
        ("was in", []),
        ("", []),
    ],
)
def test_words_become_spans(tagger: SpanTagger, text: str, expected: list[tuple[str, str]]) -> None:
    assert found(tagger, text) == expected


def test_a_text_longer_than_the_model_is_read_to_its_end(tagger: SpanTagger) -> None:
    text = "was in " * 30 + "Marie Curie" + " was in" * 30 + " 1867singsings"
    assert found(tagger, text) == [("Marie Curie", "name"), ("1867singsings", "date")]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text() | st.lists(st.sampled_from([*NAMED, "Was", "Pariss", "'", ","])).map(" ".join)
)
def test_spans_are_disjoint_ordered_and_cut_no_word(tagger: SpanTagger, text: str) -> None:
    end = 0
    for span in tagger.tag_all([text])[0]:
        assert end <= span.start < span.end <= len(text)
        inside = text[span.start : span.end]
        assert inside == inside.strip()
        assert not (text[span.start - 1 : span.start].isalpha() and inside[0].isalpha())
        assert not (text[span.end : span.end + 1].isalpha() and inside[-1].isalpha())
        end = span.end


@given(
    texts=st.lists(
        st.lists(st.sampled_from([*NAMED, "was", "in", "'", ",", "東京"])).map(" ".join),
        max_size=70,
    )
)
@settings(max_examples=20, deadline=None)
def test_many_texts_are_tagged_as_each_is_alone(tagger: SpanTagger, texts: list[str]) -> None:
    assert tagger.tag_all(texts) == [tagger.tag_all([text])[0] for text in texts]


def test_a_batch_of_masked_sentences_goes_through_the_model_together(
    folder: Path, tmp_path: Path
) -> None:
    tagger = make_tagger(str(folder))
    assert isinstance(tagger, TokenClassificationTagger)
    model = tiny.make_model(tiny.write_base(tmp_path / "base"))
    passages = [
        dataclasses.replace(one, text=f"{one.text} Marie Curie was in the town of Paris.")
        for one in tiny.passages(model.inputs)
    ]
    calls: list[int] = []
    tagger._model.register_forward_pre_hook(
        lambda module, args, given: calls.append(len(given["input_ids"])), with_kwargs=True
    )
    objective = MaskedLM(
        model.inputs,
        SalientSpans(tagger),
        ExactSearch(model, tiny.passages(model.inputs)),
        batch_size=16,
        candidates=3,
        passage_tokens=96,
    )
    batch = objective.batch(cycle(passages), random.Random(0))
    assert len(batch.sentences) == 16
    assert len(calls) <= 8  # four sentences a passage; one at a time it took some sixty
    assert max(calls) >= 16


def test_the_rules_are_the_default() -> None:
    assert isinstance(make_tagger(""), RuleTagger)
    assert isinstance(make_tagger("rules"), RuleTagger)
    assert tiny.settings().objectives.salient_tagger == ""


def test_what_is_no_tagger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="no token-classification model can be read"):
        make_tagger(str(tmp_path / "nowhere"))
    unnamed = write_tagger(tmp_path / "unnamed", ["LABEL_0", "LABEL_1"])
    with pytest.raises(BadSettings, match="one of them must be O"):
        TokenClassificationTagger(str(unnamed))
