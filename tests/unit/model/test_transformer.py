"""Bases that transformers computes: their vectors, words and files, for tiny ones of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from realm.errors import Corrupt, Unsupported
from realm.model.base import load_base
from realm.model.checkpoint import (
    Model,
    copy_model,
    load_model,
    load_passage_encoder,
    load_query_encoder,
    new_model,
    write_model,
)
from realm.model.encoders import collate
from realm.model.frozen_encoder import encode
from realm.model.hugging_face import export_model
from realm.model.inputs import InputLimits, ReaderInput, WordBoundaries
from realm.model.publishing import load_source
from realm.model.reader import body_mask
from realm.settings import load_settings
from realm.training.optimizer import freeze, groups_of, parts_of

KINDS = ("roberta", "xlm-roberta", "mpnet", "distilbert", "modernbert", "electra")
LIMITS = InputLimits(passage=96, title=8, query=48, reader=128)
QUESTIONS = ["Who built the Eiffel Tower?", "What is wide, and why does it rain in Paris?"]
BODY = "Gustave Eiffel's company built the tower in 1889; naïve people say: 東京タワー is taller."
CORPUS = [*QUESTIONS, BODY, "query: passage: the company of the people in the rain"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}


def roberta_names() -> list[str]:
    return ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bert_names() -> list[str]:
    return ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]


def tokenizer_of(kind: str) -> tuple[Tokenizer, list[str]]:
    """Of the algorithm and the special tokens that published models of this kind have."""
    names = bert_names() if kind in ("distilbert", "electra", "modernbert") else roberta_names()
    made: Any
    if kind in ("roberta", "modernbert"):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=330, special_tokens=names, initial_alphabet=alphabet, show_progress=False
        )
    elif kind == "xlm-roberta":
        made = Tokenizer(models.Unigram())
        made.normalizer = normalizers.NFKC()
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=90, special_tokens=names, unk_token="<unk>", show_progress=False
        )
    else:
        made = Tokenizer(models.WordPiece(unk_token=names[3]))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=120, special_tokens=names, show_progress=False
        )
    made.train_from_iterator(CORPUS, trainer)
    return made, names


def write_kind(folder: Path, kind: str, **changes: object) -> Path:
    """A random model of this kind, as transformers saves it."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    words, names = tokenizer_of(kind)
    cls, pad, sep, unk, mask = names
    words.post_processor = TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(cls, 0), (sep, 2)]
    )
    sizes: dict[str, object] = {**SIZES, "intermediate_size": 64}
    if "roberta" in kind:
        sizes["type_vocab_size"] = 1
    if kind == "electra":
        sizes["embedding_size"] = 32
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64}
    config = AutoConfig.for_model(
        kind,
        **sizes | changes,
        vocab_size=words.get_vocab_size(),
        max_position_embeddings=130,
        pad_token_id=1,
        bos_token_id=0,
        cls_token_id=0,
        eos_token_id=2,
        sep_token_id=2,
        initializer_range=0.3,
    )
    torch.manual_seed(5)
    AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        cls_token=cls,
        sep_token=sep,
        pad_token=pad,
        unk_token=unk,
        mask_token=mask,
        model_max_length=128,
    ).save_pretrained(folder)
    return folder


def as_sentence_transformer(folder: Path, source: Path, pooling: str, dense: bool) -> Any:
    """sentence-transformers' own model around `source`, saved to `folder`."""
    library = pytest.importorskip("sentence_transformers")
    modules = pytest.importorskip("sentence_transformers.models")
    parts = [modules.Transformer(str(source)), modules.Pooling(32, pooling_mode=pooling)]
    if dense:
        parts += [
            modules.Dense(32, 24, activation_function=torch.nn.Identity()),
            modules.Dense(24, 16, bias=False),
        ]
    parts.append(modules.Normalize())
    prompts = {"query": "query: ", "passage": "passage: "}
    made = library.SentenceTransformer(modules=parts, prompts=prompts, device="cpu")
    made.save(str(folder))
    return made


@pytest.fixture(params=KINDS)
def kind_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_kind(tmp_path / request.param, request.param)


@pytest.fixture
def model(kind_folder: Path) -> Model:
    return new_model(kind_folder, lengths=LIMITS, span_hidden_size=8, max_span_width=4)


def vectors_of(model: Model, questions: list[str]) -> np.ndarray[Any, Any]:
    inputs = [model.inputs.query(each) for each in questions]
    return encode(model.retriever.query, inputs, model.inputs.pad)


@pytest.mark.parametrize(
    ("pooling", "dense"), [("mean", False), ("cls", True), ("lasttoken", True)]
)
def test_questions_have_the_vectors_of_sentence_transformers(
    kind_folder: Path, tmp_path: Path, pooling: str, dense: bool
) -> None:
    theirs = as_sentence_transformer(tmp_path / "saved", kind_folder, pooling, dense)
    model = new_model(tmp_path / "saved", lengths=LIMITS)
    ours = vectors_of(model, QUESTIONS)
    assert ours.shape == (2, 16 if dense else 32)
    expected = theirs.encode_query(QUESTIONS)
    assert (ours * expected).sum(axis=1) == pytest.approx([1, 1], abs=1e-4)


def test_a_passages_states_are_those_of_transformers(kind_folder: Path, model: Model) -> None:
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(kind_folder).eval()
    title, body = model.inputs.title_ids("The Tower"), model.inputs.tokenize(BODY)[0]
    passages = [model.inputs.passage(title, body), model.inputs.passage(title, body[:3])]
    ids, segments, mask = collate(passages, model.inputs.pad)
    given = {"token_type_ids": segments} if kind_folder.name == "electra" else {}
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask.long(), **given).last_hidden_state
        for part in (model.retriever.passage, model.reader.eval()):
            states = part.eval().backbone(ids, segments, mask)
            torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=1e-4)


def test_a_snapshot_gives_back_the_model_and_says_nothing_of_where_it_lay(
    kind_folder: Path, tmp_path: Path
) -> None:
    settings = load_settings(vector_size=12, passage_prompt="passage: ", scale=50)
    model = load_source(kind_folder, settings)
    assert model.retriever.scale.item() == pytest.approx(50)
    folder = tmp_path / "snapshot"
    write_model(folder, model)
    assert str(tmp_path) not in (folder / "config.json").read_text()
    inputs = [model.inputs.passage([], model.inputs.tokenize(BODY)[0])]
    expected = encode(model.retriever.passage, inputs, model.inputs.pad)
    tower = load_passage_encoder(folder)
    assert tower.inputs.fingerprint == model.inputs.fingerprint
    assert np.array_equal(tower.encoder.encode(inputs), expected)
    assert load_query_encoder(folder).config == load_model(folder).config == model.config
    assert expected.shape == (1, 12)


def test_top_layers_alone_learn_and_a_copy_stays_as_it_was(model: Model) -> None:
    freeze(model, 1)
    before = copy_model(model)
    parts = parts_of(model)
    layers = {name.split(".layer")[1] for name in parts["retriever"] if ".layer" in name}
    assert {each.strip("s.")[0] for each in layers} == {"2"}
    ids, segments, mask = collate([model.inputs.query(QUESTIONS[0])], model.inputs.pad)
    optimizer = torch.optim.SGD(parts["retriever"].values(), lr=0.1)
    model.retriever.query(ids, segments, mask)[0, 0].backward()
    optimizer.step()
    was, now = before.retriever.state_dict(), model.retriever.state_dict()
    moved = {name for name in was if not torch.equal(was[name], now[name])}
    assert moved
    # One tower for both: its parameters have two names.
    learning = {name.removeprefix("retriever.query.") for name in parts["retriever"]}
    assert {name.partition(".")[2] for name in moved} <= learning
    freeze(model, 9)
    depths = {each.depth for each in groups_of(parts_of(model), dict.fromkeys(parts, 1.0), 0.5)}
    assert {1, 2, 3, 4} <= depths


def test_recomputed_gradients_are_equal(model: Model) -> None:
    ids, segments, mask = collate([model.inputs.query(q) for q in QUESTIONS], model.inputs.pad)
    backbone = model.retriever.query.eval().backbone
    found = []
    for backbone.recompute in (False, True):
        model.retriever.zero_grad()
        model.retriever.query(ids, segments, mask)[:, 0].sum().backward()
        gradient = backbone.word_embeddings.weight.grad
        assert gradient is not None
        found.append(gradient.clone())
    torch.testing.assert_close(found[0], found[1])


def test_words_that_the_reader_finds_are_the_texts(model: Model) -> None:
    body = ReaderInput.build(model.inputs, QUESTIONS[0], BODY)
    first, last = body.offsets[body.begins, 0], body.offsets[body.ends, 1]
    words = [BODY[start:end] for start, end in zip(first, last, strict=True)]
    for word in ("Gustave", "Eiffel", "company", "tower", "1889", ";", "naïve", "people"):
        assert word in words
    assert not {"tow", "er", "com", "pany", "s company"} & set(words)
    assert all(a == a.strip() for a in (BODY[s:e] for s, e in body.offsets))
    ids = model.inputs.tokenize(QUESTIONS[1])[0]
    asked = ReaderInput.build(model.inputs, "who?", QUESTIONS[1])
    by_ids = WordBoundaries(model.inputs).whole_words(ids, len(ids), 4)
    assert np.array_equal(by_ids, asked.whole_words(4))


def test_the_reader_scores_spans_and_masked_words(model: Model) -> None:
    inputs = model.inputs
    read = inputs.reader(inputs.tokenize(QUESTIONS[0])[0][:4], inputs.tokenize(BODY)[0])
    ids, segments, mask = collate([read], inputs.pad)
    with torch.no_grad():
        hidden = model.reader.eval().hidden(ids, segments, mask)
        spans = model.reader.span_logits(hidden, body_mask(segments, mask))
        words = model.reader.masked_logits(hidden, torch.tensor([[1, 2]]))
    assert spans.logits[spans.valid].isfinite().all()
    assert words.shape == (1, 2, model.config.base.vocab_size)


def test_a_cut_vector_is_the_whole_ones_head_normalised_again(tmp_path: Path) -> None:
    source = write_kind(tmp_path / "base", "mpnet")
    as_sentence_transformer(tmp_path / "saved", source, "mean", dense=False)
    whole = vectors_of(new_model(tmp_path / "saved", lengths=LIMITS), QUESTIONS)
    cut = vectors_of(new_model(tmp_path / "saved", lengths=LIMITS, vector_size=8), QUESTIONS)
    expected = whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=1e-6)


def test_positions_count_from_behind_robertas_padding(tmp_path: Path) -> None:
    for kind, positions in (("roberta", 128), ("mpnet", 128), ("distilbert", 130)):
        base = load_base(write_kind(tmp_path / kind, kind))
        assert base.config.base.max_position_embeddings == positions
        # As long as may be: the last token has a position, too.
        made = new_model(base)
        longest = made.inputs.passage([], made.inputs.tokenize(BODY * 9)[0])
        assert len(longest) == positions
        assert np.isfinite(encode(made.retriever.passage, [longest], made.inputs.pad)).all()


def test_other_kinds_are_no_realm_checkpoint(model: Model, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no plain BERT"):
        export_model(tmp_path / "exported", model, "reader")


def test_missing_weights_and_models_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_kind(tmp_path / "damaged", "roberta")
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: each for name, each in weights.items() if "layer.1." not in name},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(Corrupt, match=r"layer\.1\..* missing"):
        load_base(folder)
    with pytest.raises(Unsupported, match="as wide as its states"):
        load_base(write_kind(tmp_path / "narrow", "electra", embedding_size=16))
    config = tmp_path / "damaged" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "no-such"}))
    with pytest.raises(Unsupported, match="no-such"):
        load_base(folder)
