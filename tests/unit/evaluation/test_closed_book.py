"""A tiny T5, taught two facts by heart, answers without documents; what it says is scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import typer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from typer.testing import CliRunner

from realm.cli import eval as eval_command
from realm.errors import InvalidInput, NotFound, RealmError
from realm.evaluation.closed_book import evaluate_closed_book, load_closed_book
from realm.text.questions import Question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = ("<pad>", "</s>", "<unk>", "who", "ran", "sat", "the", "fox", "hen", "pig")
FACTS = {"who ran": "the fox", "who sat": "the hen"}
CPU = torch.device("cpu")


def _tokenizer() -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 that knows the facts."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = T5Config(
        vocab_size=len(WORDS),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    model = T5ForConditionalGeneration(config)
    asked = tokenizer(list(FACTS), return_tensors="pt")
    labels = tokenizer(list(FACTS.values()), return_tensors="pt").input_ids
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model(input_ids=asked.input_ids, labels=labels).loss.backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("t5") / "tiny-t5"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_answers_are_generated_and_scored(folder: Path) -> None:
    book = load_closed_book(str(folder), CPU)
    assert book.answers(list(FACTS)) == list(FACTS.values())
    questions = [
        Question("who ran", ("Fox",)),
        Question("who sat", ("hen pig",)),
        Question("who knows", document_id="d"),
    ]
    report = evaluate_closed_book(book, questions)
    assert report.system == "closed-book"
    assert report.em == 0.5
    assert report.f1 == pytest.approx((1 + 2 / 3) / 2)
    assert report.documents == report.answers == {"r@1": None, "r@5": None, "r@20": None}
    assert report.extras["model"] == {"name": "tiny-t5"}
    assert json.loads(json.dumps(report.to_json()))["questions"] == 3


def test_without_answers_nothing_is_measured(folder: Path) -> None:
    book = load_closed_book(str(folder), CPU)
    with pytest.raises(InvalidInput, match="no question has an answer"):
        evaluate_closed_book(book, [Question("who ran", document_id="d")])


def run(folder: Path, *more: object) -> dict[str, object]:
    questions = folder / "questions.jsonl"
    questions.write_text(json.dumps({"question": "who ran", "answers": ["the fox"]}))
    app = typer.Typer()
    app.callback()(lambda: None)
    eval_command.register(app)
    arguments = ["--system", "closed-book", "--questions", questions, "--json", folder / "r.json"]
    threads = torch.get_num_threads()
    try:
        result = CliRunner().invoke(app, ["eval", *map(str, [*arguments, *more])])
    finally:
        torch.set_num_threads(threads)
    if isinstance(result.exception, RealmError):
        raise result.exception
    assert result.exit_code == 0, result.output
    report: dict[str, object] = json.loads((folder / "r.json").read_text())
    return report


def test_the_command_needs_a_model_and_no_documents(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALM_THREADS", "1")
    monkeypatch.setenv("REALM_DEVICE", "cpu")
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    report = run(tmp_path, "--model", folder)
    assert report["em"] == 1.0
    with pytest.raises(InvalidInput, match="give --model with its folder"):
        run(tmp_path)
    with pytest.raises(NotFound, match="not a sequence-to-sequence model"):
        run(tmp_path, "--model", tmp_path / "nowhere")
