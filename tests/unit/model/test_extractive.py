"""Extractive QA checkpoints of transformers as readers: their logits, words and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from realm.errors import Corrupt, Unsupported
from realm.model.base import load_extractive_reader
from realm.model.checkpoint import Model, load_model, new_model, write_model
from realm.model.config import AnswerRules, ModelConfig
from realm.model.encoders import collate
from realm.model.hugging_face import export_model, import_model
from realm.model.inputs import InputLimits
from tests.tiny import VOCABULARY, write_base

if TYPE_CHECKING:
    from transformers import BertForQuestionAnswering

LENGTHS = InputLimits(passage=96, title=16, query=64, reader=160)
QUESTION = "who founded the town?"
PASSAGES = ("The town was founded in 1812 by Arden.", "The river of the town.")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def theirs() -> BertForQuestionAnswering:
    """Wider and shallower than the base, with fewer positions."""
    from transformers import BertConfig, BertForQuestionAnswering

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return BertForQuestionAnswering(config).eval()


@pytest.fixture(scope="module")
def checkpoint(theirs: BertForQuestionAnswering, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    theirs.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def model_of(base: Path, checkpoint: Path) -> Model:
    return new_model(base, reader=checkpoint, lengths=LENGTHS, max_span_width=7)


def test_span_scores_are_their_start_plus_end_logits(
    base: Path, checkpoint: Path, theirs: BertForQuestionAnswering
) -> None:
    model = model_of(base, checkpoint)
    question, body = (model.inputs.tokenize(text)[0] for text in (QUESTION, PASSAGES[0]))
    ids, segments, mask = collate([model.inputs.reader(question, body)], model.inputs.pad)
    first = len(question) + 2
    with torch.inference_mode():
        spans = model.reader.eval()(ids, segments, mask)
        out = theirs(input_ids=ids, token_type_ids=segments, attention_mask=mask)
    start, end = out.start_logits[0], out.end_logits[0]
    for i in range(first, first + len(body)):
        for width in range(7):
            logit = spans.logits[0, i, width]
            if i + width < first + len(body):
                torch.testing.assert_close(logit, start[i] + end[i + width], atol=1e-5, rtol=0)
            else:
                assert logit == -torch.inf
    assert spans.logits[0, :first].isinf().all()
    torch.testing.assert_close(spans.null[0], start[0] + end[0], atol=1e-5, rtol=0)


def test_a_reader_of_another_shape_is_kept_with_the_model(
    base: Path, checkpoint: Path, tmp_path: Path
) -> None:
    model = model_of(base, checkpoint)
    assert model.config.base.hidden_size == 32
    assert model.config.reader_shape.hidden_size == 48
    assert model.config.lengths.reader == 128  # it has no more positions
    write_model(tmp_path, model)
    again = load_model(tmp_path)
    assert again.config == model.config == ModelConfig.from_json(model.config.to_json())
    mine, its = model.reader.state_dict(), again.reader.state_dict()
    assert all(torch.equal(tensor, its[name]) for name, tensor in mine.items())


def test_import_takes_it_beside_a_base(base: Path, checkpoint: Path) -> None:
    model = import_model(base, reader=checkpoint, no_answer=True)
    assert model.config.span_scores == "start_end"
    assert model.reader.answers == AnswerRules(null=True)
    expected = load_extractive_reader(checkpoint).weights
    mine = model.reader.state_dict()
    assert all(torch.equal(tensor, mine[name]) for name, tensor in expected.items())


def test_what_cannot_serve_is_refused(base: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="has no qa_outputs"):
        new_model(base, reader=base)
    other = tmp_path / "other"
    other.mkdir()
    for file in checkpoint.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    words = [*VOCABULARY[:-2], VOCABULARY[-1], VOCABULARY[-2]]
    (other / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(Corrupt, match="does not match the retriever's"):
        new_model(base, reader=other)
    (other / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    values = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 3}))
    with pytest.raises(Corrupt, match=r"the reader does not fit: .*layer\.2.* is missing"):
        new_model(base, reader=other)
    with pytest.raises(Unsupported, match="its reader is another's"):
        export_model(tmp_path / "export", model_of(base, checkpoint), "reader")
