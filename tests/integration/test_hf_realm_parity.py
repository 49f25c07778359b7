"""Our model against what transformers 4.46.3 computed with the same weights, to 1e-5.

The folder in REALM_HF_FIXTURE holds four checkpoints and `inputs_outputs.safetensors`, keyed
`model/tensor`. Export and import are proven on the same weights.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer, Tokenizer
from torch import Tensor, nn

from realm.model.checkpoint import Model, load_model, write_model
from realm.model.config import Marginal
from realm.model.hugging_face import export_model, import_model
from realm.model.hugging_face_format import Kind
from realm.model.likelihood import (
    log_prior,
    marginal_log_likelihood,
    retriever_answer_marginal,
    span_marginal,
)
from realm.model.weights import Weights, read_weights

DEFAULT = Path(__file__).parents[2].parent / "shared" / "reference" / "hf_realm_tiny"
FIXTURE = Path(os.environ.get("REALM_HF_FIXTURE", DEFAULT))
INPUTS = {
    *("input_ids", "attention_mask", "token_type_ids", "block_mask", "labels", "mlm_mask"),
    *("candidate_input_ids", "candidate_attention_mask", "candidate_token_type_ids"),
    *("start_positions", "end_positions", "has_answers"),
}
#: An output of the scorer, given to the two models that read.
RELEVANCE = "relevance_score"
FOLDERS: dict[Kind, str] = {
    "embedder": "embedder",
    "scorer": "scorer",
    "encoder": "knowledge_aug_encoder",
    "reader": "reader",
}

pytestmark = pytest.mark.skipif(
    not (FIXTURE / "inputs_outputs.safetensors").is_file(),
    reason="REALM_HF_FIXTURE names no folder of transformers' REALM checkpoints",
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The checkpoints came without one; no output depends on its words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(507))]
    by_word = {word: number for number, word in enumerate(words)}
    return Tokenizer.from_str(BertWordPieceTokenizer(by_word).to_str())


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Model:
    """Scorer and reader."""
    return whole(("reader",), FOLDERS, FIXTURE, tokenizer)


@pytest.fixture(scope="module")
def masking(tokenizer: Tokenizer) -> Model:
    """Scorer and knowledge-augmented encoder."""
    return whole(("encoder",), FOLDERS, FIXTURE, tokenizer)


def whole(
    kinds: tuple[Kind, ...],
    folders: dict[Kind, str],
    root: Path,
    tokenizer: Tokenizer | None = None,
) -> Model:
    """The scorer, and whichever of reader and encoder `kinds` names."""
    return evaluating(
        import_model(
            root / folders["scorer"],
            reader=root / folders["reader"] if "reader" in kinds else None,
            mlm=root / folders["encoder"] if "encoder" in kinds else None,
            tokenizer=tokenizer,
        )
    )


def evaluating(model: Model) -> Model:
    model.retriever.eval()
    model.reader.eval()
    return model


def recorded(folder: str) -> dict[str, Tensor]:
    both = load_file(FIXTURE / "inputs_outputs.safetensors")
    prefix = f"{folder}/"
    return {k.removeprefix(prefix): v for k, v in both.items() if k.startswith(prefix)}


def inputs(given: dict[str, Tensor], prefix: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and mask, [rows, tokens]; a query without segments has segment 0."""
    ids = given[f"{prefix}input_ids"]
    segments = given.get(f"{prefix}token_type_ids", torch.zeros_like(ids))
    mask = given[f"{prefix}attention_mask"].bool()
    return ids.flatten(0, -2), segments.flatten(0, -2), mask.flatten(0, -2)


def embedder_outputs(model: Model, given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"projected_score": model.retriever.query(*inputs(given))}


def scorer_outputs(model: Model, given: dict[str, Tensor]) -> dict[str, Tensor]:
    queries = model.retriever.query(*inputs(given))
    candidates = model.retriever.passage(*inputs(given, "candidate_"))
    candidates = candidates.view(*given["candidate_input_ids"].shape[:2], -1)
    return {
        "query_score": queries,
        "candidate_score": candidates,
        RELEVANCE: model.retriever.score(queries, candidates),
    }


def encoder_outputs(
    model: Model, given: dict[str, Tensor], marginal: Marginal = "token"
) -> dict[str, Tensor]:
    rows, k = given[RELEVANCE].shape
    hidden = model.reader.hidden(*inputs(given))  # [rows·k, tokens, hidden]
    used = given["mlm_mask"].bool()  # [rows, tokens]
    everywhere = used.any(dim=0).nonzero().squeeze(-1).expand(rows * k, -1)
    logits = model.reader.masked_logits(hidden, everywhere)
    positions = torch.stack([row.nonzero().squeeze(-1) for row in used])  # [rows, J]
    targets = given["labels"].gather(1, positions)
    log_probs = model.reader.target_log_probs(
        hidden, positions.repeat_interleave(k, 0), targets.repeat_interleave(k, 0)
    )
    total = marginal_log_likelihood(
        log_prior(given[RELEVANCE]),
        log_probs.view(rows, k, -1),
        torch.ones_like(targets, dtype=torch.bool),
        marginal,
    ).sum()
    return {"logits_masked": logits.view(rows, k, *logits.shape[1:]), "loss": -total / used.sum()}


def reader_outputs(model: Model, given: dict[str, Tensor]) -> dict[str, Tensor]:
    hidden = model.reader.hidden(*inputs(given))
    spans = model.reader.span_logits(hidden, given["block_mask"].bool())
    logits = spans.logits + given[RELEVANCE][:, None, None]  # [blocks, starts, widths]
    _, tokens, widths = logits.shape
    starts = torch.arange(tokens).unsqueeze(-1).expand(tokens, widths)
    ends = starts + torch.arange(widths)
    golden = (given["start_positions"][:, :, None, None] == starts) & (
        given["end_positions"][:, :, None, None] == ends
    )  # [blocks, answers, starts, widths]
    correct = golden.any(dim=1)
    reader = span_marginal(logits.unsqueeze(0), correct.unsqueeze(0))
    retriever = retriever_answer_marginal(
        given[RELEVANCE].unsqueeze(0), given["has_answers"].unsqueeze(0)
    )
    best = torch.unravel_index(logits.argmax(), logits.shape)
    block, start, width = (int(index) for index in best)
    # transformers counts spans width by width, those that end within the input.
    inside = [correct[:, : tokens - extra, extra] for extra in range(widths)]
    candidate = sum(tokens - extra for extra in range(width)) + start
    return {
        "out_reader_loss": -reader.log_likelihood[0],
        "out_retriever_loss": -retriever.log_likelihood[0],
        "out_loss": -reader.log_likelihood[0] - retriever.log_likelihood[0],
        "out_reader_correct": torch.cat(inside, dim=1),
        "out_retriever_correct": given["has_answers"],
        "out_block_idx": torch.tensor(block),
        "out_candidate": torch.tensor(candidate),
        "out_start_pos": torch.tensor([start]),
        "out_end_pos": torch.tensor([start + width]),
    }


def assert_equal_outputs(
    outputs: dict[str, Tensor], given: dict[str, Tensor], known: set[str]
) -> None:
    assert set(outputs) == set(given) - known, "every recorded output is compared"
    for name, tensor in outputs.items():
        torch.testing.assert_close(tensor, given[name], atol=1e-5, rtol=0)


def assert_same_weights(left: nn.Module, right: nn.Module) -> None:
    mine, its = left.state_dict(), right.state_dict()
    assert mine.keys() == its.keys()
    assert all(torch.equal(tensor, its[name]) for name, tensor in mine.items())


def assert_same_model(left: Model, right: Model) -> None:
    assert left.config == right.config
    assert left.inputs.tokenizer.to_str() == right.inputs.tokenizer.to_str()
    assert_same_weights(left.retriever, right.retriever)
    assert_same_weights(left.reader, right.reader)


def stored_weights(folder: Path) -> Weights:
    return read_weights(next(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin")))


@torch.no_grad()
def test_an_embedders_vectors_are_transformers(tokenizer: Tokenizer) -> None:
    model = evaluating(import_model(FIXTURE / "embedder", tokenizer=tokenizer))
    given = recorded("embedder")
    assert_equal_outputs(embedder_outputs(model, given), given, INPUTS)


@torch.no_grad()
@pytest.mark.parametrize(
    ("which", "folder", "compute", "more_inputs"),
    [
        ("model", "scorer", scorer_outputs, set()),
        ("masking", "knowledge_aug_encoder", encoder_outputs, {RELEVANCE}),
        ("model", "reader", reader_outputs, {RELEVANCE}),
    ],
)
def test_outputs_are_transformers(
    request: pytest.FixtureRequest,
    which: str,
    folder: str,
    compute: Callable[[Model, dict[str, Tensor]], dict[str, Tensor]],
    more_inputs: set[str],
) -> None:
    model = request.getfixturevalue(which)
    given = recorded(folder)
    assert_equal_outputs(compute(model, given), given, INPUTS | more_inputs)


@torch.no_grad()
def test_transformers_loss_is_the_marginal_per_token_not_the_papers(masking: Model) -> None:
    given = recorded("knowledge_aug_encoder")
    assert masking.config.marginal == "token"
    by_sequence = encoder_outputs(masking, given, "sequence")["loss"]
    assert (by_sequence - given["loss"]).abs() > 1e-3


def test_an_imported_model_is_written_and_read_back(model: Model, tmp_path: Path) -> None:
    write_model(tmp_path / "model", model)
    assert_same_model(load_model(tmp_path / "model"), model)


@pytest.mark.parametrize("kinds", [("reader",), ("encoder",), ("encoder", "reader")])
def test_export_and_import_are_the_identity(
    tokenizer: Tokenizer, tmp_path: Path, kinds: tuple[Kind, ...]
) -> None:
    model = whole(kinds, FOLDERS, FIXTURE, tokenizer)
    for kind in ("scorer", *kinds):
        export_model(tmp_path / kind, model, kind)
    assert_same_model(whole(kinds, {kind: kind for kind in FOLDERS}, tmp_path), model)


def test_an_embedder_goes_out_and_in_unchanged(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = import_model(FIXTURE / "embedder", tokenizer=tokenizer)
    export_model(tmp_path / "embedder", model, "embedder")
    again = import_model(tmp_path / "embedder")
    assert again.config == model.config
    assert_same_weights(again.retriever, model.retriever)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_snapshots_export_has_transformers_names_shapes_and_keys(
    model: Model, tokenizer: Tokenizer, tmp_path: Path, kind: Kind
) -> None:
    if kind == "embedder":
        model = import_model(FIXTURE / "embedder", tokenizer=tokenizer)
    write_model(tmp_path / "snapshot", model)
    export_model(tmp_path / "out", load_model(tmp_path / "snapshot"), kind)
    original, exported = stored_weights(FIXTURE / FOLDERS[kind]), stored_weights(tmp_path / "out")
    assert {k: v.shape for k, v in exported.items()} == {k: v.shape for k, v in original.items()}
    values, expected = (
        json.loads((folder / "config.json").read_text())
        for folder in (tmp_path / "out", FIXTURE / FOLDERS[kind])
    )
    for unknown_here in ("num_block_records", "reader_beam_size", "searcher_beam_size"):
        assert values.pop(unknown_here) >= expected.pop(unknown_here)
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("which", "kind", "without_effect"),
    [
        ("model", "scorer", "cls.predictions."),
        ("masking", "encoder", "realm.pooler."),
        ("model", "reader", ("realm.pooler.", "cls.predictions.decoder.")),
    ],
)
def test_what_transformers_computes_with_is_exported_bit_for_bit(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    which: str,
    kind: Kind,
    without_effect: str | tuple[str, ...],
) -> None:
    export_model(tmp_path, request.getfixturevalue(which), kind)
    exported = stored_weights(tmp_path)
    for name, tensor in stored_weights(FIXTURE / FOLDERS[kind]).items():
        bare = name.removeprefix("query_").removeprefix("embedder.")
        assert bare.startswith(without_effect) or torch.equal(exported[name], tensor), name
