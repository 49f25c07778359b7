"""`realm model train-retriever` and `train-reader` on tiny bases, and `realm eval` of a result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from realm.cli import eval as eval_command
from realm.cli import model as commands
from realm.cli.training import without
from realm.corpus.documents import Document
from realm.errors import Corrupt, InvalidInput, NotFound, RealmError
from realm.model.base import load_base
from realm.model.checkpoint import Model, load_model, new_model
from realm.model.starter import load_starter
from realm.objectives.masked_lm import MaskedBatch, MaskedLM
from realm.objectives.objective import Loss
from tests import tiny
from tests.tiny import write_base

ASKED = [
    {
        "question": f"How many people live in town {n}?",
        "answers": [str(100 + n)],
        "document_id": f"town-{n}",
    }
    for n in range(30)
]


@pytest.fixture(autouse=True)
def same_threads_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write_rows(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def reader_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    told = [
        {"id": f"d{n}", "title": "t", "text": f"the town {n} was in the river."} for n in range(20)
    ]
    asked = [
        {"question": f"what was {n}?", "answers": [f"town {n}"], "document_id": f"d{n}"}
        for n in range(20)
    ]
    for name, rows in (("documents", told), ("more", told[:3]), ("questions", asked)):
        write_rows(tmp_path / f"{name}.jsonl", rows)
    base = write_base(tmp_path / "base")
    for name, value in {"BASE_MODEL": base, "THREADS": 1, "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"REALM_{name}", str(value))
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    told = [{"id": d.id, "title": d.title, "text": d.text} for d in tiny.documents(30)]
    for name, rows in (("documents", told), ("questions", ASKED), ("kept", ASKED[:3])):
        write_rows(tmp_path / f"{name}.jsonl", rows)
    for name, value in {
        "BASE_MODEL": write_base(tmp_path / "base"),
        "THREADS": 1,
        "DEVICE": "cpu",
        "PASSAGE_TOKENS": 96,
        "QUERY_TOKENS": 64,
        "READER_TOKENS": 160,
        "TRAIN_PASSAGE_TOKENS": 96,
        "CANDIDATES": 3,
        "INVERSE_CLOZE_BATCH": 4,
    }.items():
        monkeypatch.setenv(f"REALM_{name}", str(value))
    return tmp_path


def invoke(*arguments: object) -> Result:
    app = typer.Typer()
    commands.register(app)
    eval_command.register(app)
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if isinstance(result.exception, RealmError):
        raise result.exception
    return result


def train(folder: Path, recipe: str, *more: object) -> Result:
    return invoke(
        *("model", "train-retriever", "--recipe", recipe, "--to", folder / recipe),
        *("--documents", folder / "documents.jsonl", "--steps", 2, "--batch", 4, *more),
    )


def train_reader(folder: Path, *more: object) -> Result:
    return invoke(
        *("model", "train-reader", "--questions", folder / "questions.jsonl"),
        *("--documents", folder / "documents.jsonl", folder / "more.jsonl"),
        *("--to", folder / "starter", *more),
    )


def measure(folder: Path, system: str, *more: object) -> Result:
    return invoke(
        *("eval", "--documents", folder / "documents.jsonl", "--system", system),
        *("--questions", folder / "questions.jsonl", "--limit", 3, "--passages", 2, *more),
    )


@pytest.mark.parametrize("recipe", ["ict", "dpr", "realm", "open-qa"])
def test_a_retriever_is_trained_by_each_recipe_and_measured(folder: Path, recipe: str) -> None:
    asked = recipe in ("dpr", "open-qa")
    more = ("--questions", folder / "questions.jsonl") if asked else ()
    result = train(folder, recipe, *more, "--lr", 1e-3, "--warm-start", 1, "--refresh-every", 1)
    assert result.exit_code == 0, result.output
    trained, before = load_model(folder / recipe), new_model(folder / "base")
    old = before.retriever.state_dict()
    new = trained.retriever.state_dict()
    assert any(not torch.equal(tensor, old[name]) for name, tensor in new.items())
    old = before.reader.state_dict()
    assert all(torch.equal(t, old[name]) for name, t in trained.reader.state_dict().items())
    card = json.loads((folder / recipe / "training.json").read_text())
    steps = {one["objective"]: one["steps"] for one in card["phases"]}
    last = {"ict": "inverse_cloze", "realm": "masked_lm", "open-qa": "open_qa"}.get(recipe, recipe)
    assert steps == ({"inverse_cloze": 1} if recipe == "realm" else {}) | {last: 2}
    assert len(card["data"][0]["sha256"]) == 64
    assert card["settings"]["train_passage_tokens"] == 96
    assert str(folder) not in json.dumps(card)
    file = folder / "report.json"
    result = measure(folder, recipe, "--model", folder / recipe, "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert report["system"] == recipe
    assert report["model"]["step"] == sum(steps.values())


def test_the_reader_that_learnt_along_is_written_if_asked_for(folder: Path) -> None:
    train(folder, "realm", "--warm-start", 0, "--keep-trained-reader")
    trained, before = load_model(folder / "realm"), new_model(folder / "base")
    old = before.reader.state_dict()
    assert any(not torch.equal(t, old[name]) for name, t in trained.reader.state_dict().items())


def test_open_qa_moves_the_query_encoder_alone(folder: Path) -> None:
    train(folder, "ict", "--lr", 1e-3)
    train(folder, "open-qa", *("--questions", folder / "questions.jsonl"), "--lr", 1e-3, "--from",
          folder / "ict")  # fmt: skip
    before, after = load_model(folder / "ict"), load_model(folder / "open-qa")
    assert before.config.shared_towers
    assert not after.config.shared_towers
    old = before.retriever.passage.state_dict()
    assert all(torch.equal(t, old[n]) for n, t in after.retriever.passage.state_dict().items())
    assert any(not torch.equal(t, old[n]) for n, t in after.retriever.query.state_dict().items())
    card = json.loads((folder / "open-qa" / "training.json").read_text())
    assert card["settings"]["retrieval_encoder"] == "fresh"


def test_documents_of_measuring_questions_are_left_out(folder: Path) -> None:
    train(folder, "ict", "--leave-out", folder / "kept.jsonl")
    assert json.loads((folder / "ict" / "training.json").read_text())["documents"] == 27
    (folder / "ict").rename(folder / "first")
    with pytest.raises(InvalidInput, match="every document is left out"):
        train(folder, "ict", "--leave-out", folder / "questions.jsonl")


def test_nothing_is_left_out_in_silence(folder: Path) -> None:
    nameless = {name: value for name, value in ASKED[0].items() if name != "document_id"}
    other = {**ASKED[0], "document_id": "of another corpus"}
    for row in (nameless, other):
        (folder / "strange.jsonl").write_text(json.dumps(row))
        with pytest.raises(InvalidInput, match=r"no question of .*strange\.jsonl names one"):
            train(folder, "ict", "--leave-out", folder / "strange.jsonl")


def test_documents_without_a_title_are_not_alike() -> None:
    told = [Document("a", "", "x"), Document("b", "", "x"), Document("c", "t", "x")]
    left = without(told, {"a"}, Path("kept.jsonl"))
    assert [one.id for one in left] == ["b", "c"]


def test_training_goes_on_from_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(folder, "ict", "--lr", 1e-3)
    # At such rates no weight moves.
    monkeypatch.setenv("REALM_SCALE_LEARNING_RATE", "1e-30")
    train(folder, "dpr", *("--questions", folder / "questions.jsonl"), "--lr", 1e-30, "--from",
          folder / "ict")  # fmt: skip
    first, second = (load_model(folder / name).retriever.state_dict() for name in ("ict", "dpr"))
    assert all(torch.allclose(tensor, second[name], atol=1e-6) for name, tensor in first.items())


def test_the_recipe_asks_for_what_the_named_tagger_finds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that knows the word "people" alone: each town's passage says it."""
    from tests.unit.objectives.test_taggers import LABELS, NAMED, PIECES, write_tagger

    monkeypatch.setitem(NAMED, "people", "B-LOC")
    monkeypatch.setattr("tests.unit.objectives.test_taggers.PIECES", [*PIECES, "people"])
    monkeypatch.setenv("REALM_SALIENT_TAGGER", str(write_tagger(folder / "tagger", LABELS)))
    asked: list[list[int]] = []
    real = MaskedLM.loss

    def loss(self: MaskedLM, batch: MaskedBatch, model: Model) -> Loss:
        asked.extend(one.targets for one in batch.sentences)
        return real(self, batch, model)

    monkeypatch.setattr(MaskedLM, "loss", loss)
    assert train(folder, "realm", "--warm-start", 0).exit_code == 0
    inputs = load_model(folder / "realm").inputs
    assert {inputs.tokenizer.id_to_token(one) for targets in asked for one in targets} == {"people"}
    card = json.loads((folder / "realm" / "training.json").read_text())
    assert card["settings"]["salient_tagger"] == "tagger"


def test_refusals_say_what_to_do(folder: Path) -> None:
    for recipe in ("dpr", "open-qa"):
        with pytest.raises(InvalidInput, match=f"{recipe} learns from questions: give --questions"):
            train(folder, recipe)
    with pytest.raises(InvalidInput, match="give --lr above 0"):
        train(folder, "ict", "--lr", 0)
    with pytest.raises(InvalidInput, match="no --model is given: make it with `realm model train"):
        measure(folder, "ict")
    with pytest.raises(InvalidInput, match="there is no folder"):
        measure(folder, "ict", "--model", folder / "nowhere")
    with pytest.raises(Corrupt, match=r"training\.json does not say"):
        measure(folder, "ict", "--model", folder / "base")
    train(folder, "ict")
    with pytest.raises(InvalidInput, match="made by the recipe ict, not dpr"):
        measure(folder, "dpr", "--model", folder / "ict")
    with pytest.raises(InvalidInput, match="already exists"):
        train(folder, "ict")


def test_a_reader_is_trained_and_fits_its_base(reader_folder: Path) -> None:
    folder = reader_folder
    result = train_reader(
        folder, "--epochs", 1, "--batch", 4, "--span-width", 7, "--licence", "ours"
    )
    assert result.exit_code == 0, result.output
    assert "a starter of" in result.output
    base = load_base(folder / "base")
    starter = load_starter(base.config.base_sha256, folder / "starter")
    assert starter is not None
    assert starter.max_span_width == 7
    expected = new_model(base).reader.state_dict()
    for name, tensor in starter.weights().items():
        assert tensor.shape == expected[name].shape
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["licence_of_data"] == "ours"
    names = [one["name"] for one in card["data"]]
    assert names == ["documents.jsonl", "more.jsonl", "questions.jsonl"]
    assert card["command"].startswith(
        "realm model train-reader --documents documents.jsonl more.jsonl --questions"
    )
    assert str(folder) not in json.dumps(card)


def test_training_goes_on_from_a_starter_and_its_card_says_so(reader_folder: Path) -> None:
    folder = reader_folder
    options = ("--epochs", 1, "--batch", 4, "--span-width", 7)
    assert train_reader(folder, *options).exit_code == 0
    (folder / "starter").rename(folder / "first")
    # At such a rate no weight moves by as much as float16 can tell.
    slow = ("--lr", 1e-12, "--head-lr", 1e-12)
    assert train_reader(folder, *options, *slow, "--from", folder / "first").exit_code == 0
    base = load_base(folder / "base").config.base_sha256
    first, second = load_starter(base, folder / "first"), load_starter(base, folder / "starter")
    assert first is not None
    assert second is not None
    again = second.weights()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.weights().items())
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["continues"]["sha256"] == first.sha256
    assert card["continues"]["training"]["steps"] > 0
    assert "--from first" in card["command"]
    with pytest.raises(NotFound, match="has no starter for the base"):
        train_reader(folder, *options, "--from", folder)


def test_a_rate_of_nothing_is_refused(reader_folder: Path) -> None:
    folder = reader_folder
    with pytest.raises(InvalidInput, match="give --lr and --head-lr above 0"):
        train_reader(folder, "--lr", 0)


def test_cloze_and_no_answer_are_part_of_plan_and_command(reader_folder: Path) -> None:
    folder = reader_folder
    stories = [
        {"id": f"s{n}", "title": "t", "text": f"In the long war {n} of old Arden held the town."}
        for n in range(12)
    ]
    write_rows(folder / "stories.jsonl", stories)
    options = ("--epochs", 1, "--batch", 4, "--span-width", 7, "--negatives", 0.5)
    more = ("--cloze", 0.5, "--cloze-documents", folder / "stories.jsonl", "--no-answer", 0.25)
    assert train_reader(folder, *options, *more).exit_code == 0
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["cloze_lessons"] > 0
    assert card["answers"]["null"]
    assert "--cloze-documents stories.jsonl" in card["command"]
    assert "--negatives 0.5" in card["command"]
    assert "--no-answer 0.25" in card["command"]
    assert "stories.jsonl" in [one["name"] for one in card["data"]]


def test_without_epochs_a_starter_is_only_measured(reader_folder: Path) -> None:
    folder = reader_folder
    assert train_reader(folder, "--epochs", 1, "--batch", 4, "--span-width", 7).exit_code == 0
    (folder / "starter").rename(folder / "first")
    again = ("--epochs", 0, "--span-width", 7, "--from", folder / "first")
    assert train_reader(folder, *again).exit_code == 0
    card = json.loads((folder / "starter" / "starter.json").read_text())
    assert card["training"]["steps"] == 0
    assert card["continues"]["training"]["steps"] > 0
    assert set(card["held_out"]["calibration_error"]) == {"before", "after"}
