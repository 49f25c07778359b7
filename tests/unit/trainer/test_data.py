"""Passages out of the store, the order in which they are drawn, and questions given meanwhile."""

from __future__ import annotations

import json
import random
import time
from itertools import islice
from pathlib import Path

import pytest

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, to_table
from realm.errors import NotFound
from realm.model.checkpoint import Model
from realm.objectives.candidates import Candidate
from realm.objectives.dpr import DPR
from realm.objectives.sources import Questions, load_questions
from realm.records import arrow
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.text.questions import Question
from services.trainer import data
from services.trainer.data import CorpusView, QuestionWatch, Sampler, newest_generation, read_view
from tests import tiny
from tests.unit.objectives.searches import ExactSearch

LIMIT = 30.0


@pytest.fixture
def corpus(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs, 30)


def put(
    store: Store,
    number: int,
    shards: list[list[Passage]],
    print_: str = "f",
    vector_size: int = 32,
) -> Generation:
    """A generation over passage files named by their content."""
    files = []
    for index, shard in enumerate(shards):
        name = f"passages/{print_}/{index:03d}/{shard[0].content_hash[:16]}-{len(shard)}.arrow"
        arrow.write_table(store, name, to_table(shard))
        files.append(name)
    made = Generation(
        number, 1, 0, 1, print_, vector_size, tuple(files), f"c-{number}", 0.0, "test"
    )
    Generations(store).create(made)
    return made


def test_view_finds_every_passage_by_id(store: Store, corpus: list[Passage]) -> None:
    view = read_view(store, put(store, 1, [corpus[:12], corpus[12:]]).passage_files, None)
    assert len(view) == len(corpus)
    for passage in corpus:
        assert view.find(passage.passage_id) == passage
    assert view.find("unknown") is None


def test_files_known_already_are_not_read_again(store: Store, corpus: list[Passage]) -> None:
    first = read_view(store, put(store, 1, [corpus[:12], corpus[12:]]).passage_files, None)
    second = put(store, 2, [corpus[:12], corpus[12:-1]])
    store.delete(first.files[0])
    assert len(read_view(store, second.passage_files, first)) == len(corpus) - 1
    with pytest.raises(NotFound):
        read_view(store, second.passage_files, None)


def test_sampler_draws_each_trainable_passage_once_an_epoch(
    store: Store, corpus: list[Passage]
) -> None:
    view = read_view(store, put(store, 1, [corpus]).passage_files, None)
    trainable = [p.passage_id for p in corpus if not is_held_out(p.document_id)]
    assert 0 < len(trainable) < len(corpus)
    sampler = Sampler(view, seed=1)
    epochs = [[p.passage_id for p in islice(sampler, len(trainable))] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(trainable)
    assert epochs[0] != epochs[1]


def test_sampler_goes_on_from_its_state(store: Store, corpus: list[Passage]) -> None:
    view = read_view(store, put(store, 1, [corpus]).passage_files, None)
    sampler = Sampler(view, seed=1)
    list(islice(sampler, 40))
    again = Sampler(view, 1, **sampler.state())
    assert list(islice(sampler, 40)) == list(islice(again, 40))


def test_sampler_over_nothing_trainable_ends(store: Store, corpus: list[Passage]) -> None:
    held_out = [p for p in corpus if is_held_out(p.document_id)]
    view = read_view(store, put(store, 1, [held_out]).passage_files, None)
    assert list(Sampler(view, 0)) == []
    assert list(Sampler(CorpusView((), {}), 0)) == []


def test_position_beyond_a_smaller_corpus_begins_the_next_epoch(
    store: Store, corpus: list[Passage]
) -> None:
    view = read_view(store, put(store, 1, [corpus[:10]]).passage_files, None)
    sampler = Sampler(view, 0, epoch=2, position=10_000)
    assert next(sampler).passage_id in {p.passage_id for p in corpus[:10]}
    assert sampler.state() == {"epoch": 3, "position": 1}


@pytest.mark.parametrize(
    "given_up", [[State.REJECTED], [State.ABANDONED], [State.LIVE, State.RETIRED]]
)
def test_newest_generation_that_is_not_given_up(
    store: Store, corpus: list[Passage], given_up: list[State]
) -> None:
    generations = Generations(store)
    first, second = put(store, 1, [corpus]), put(store, 2, [corpus])
    assert newest_generation(generations, "f") == second
    generations.record(2, State.BUILDING)
    assert newest_generation(generations, "f") == second
    for state in given_up:
        generations.record(2, state)
    assert newest_generation(generations, "f") == first


def test_passages_cut_for_another_tokenizer_are_not_taken(
    store: Store, corpus: list[Passage]
) -> None:
    generations = Generations(store)
    put(store, 1, [corpus], "other")
    assert newest_generation(generations, "f") is None


def lines(*asked: Question) -> bytes:
    rows = [
        {"question": one.question, "answers": one.answers, "document_id": one.document_id}
        for one in asked
    ]
    return "\n".join(json.dumps(row) for row in rows).encode()


def asked(prefix: str, documents: list[str]) -> list[Question]:
    return [Question(f"{prefix} {name}?", ("ago",), None, name) for name in documents]


def poll(watch: QuestionWatch) -> str | None:
    """One reading of the file, waited for."""
    watch.poll()
    deadline = time.monotonic() + LIMIT
    while watch._reading.busy and time.monotonic() < deadline:
        found = watch.poll()
        if found is not None:
            return found
    assert not watch._reading.busy
    return None


@pytest.mark.parametrize("place", ["store", "path"])
def test_new_questions_are_learnt_from_without_a_restart(
    model: Model, store: Store, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "POLL_QUESTIONS_SECONDS", 0.0)
    name = "questions.jsonl" if place == "store" else str(tmp_path / "questions.jsonl")

    def write(text: bytes) -> None:
        store.write(name, text) if place == "store" else Path(name).write_bytes(text)

    corpus = tiny.passages(model.inputs)
    search = ExactSearch(model, corpus)
    known = [one.document_id for one in map(Candidate.of, corpus)][:30]
    write(lines(*asked("who founded", known)))
    questions = Questions(load_questions(name, store))
    objective = DPR(
        model.inputs, questions, search, batch_size=4, hard_negatives=0, passage_tokens=96
    )
    watch = QuestionWatch(name, store, questions)

    def drawn() -> set[tuple[int, ...]]:
        batch = objective.batch(iter(()), random.Random(1))
        return {tuple(query.ids) for query in batch.queries}

    before = drawn()
    # As they are in use already, nothing is told; nor is it of a file that cannot be used.
    assert poll(watch) is None
    write(b'{"question": ""}')
    assert poll(watch) is None
    assert drawn() == before
    write(lines(*asked("when was", known)))
    assert poll(watch) == lines(*asked("when was", known)).decode()
    new = {tuple(model.inputs.query(one.question).ids) for one in asked("when was", known)}
    assert drawn() <= new
    # Questions that name no document have to be searched for.
    assert not objective.needs_index
    write(lines(Question("who?", ("ago",))))
    assert poll(watch) is not None
    assert objective.needs_index
    if place == "path":
        Path(name).unlink()
        assert poll(watch) is None
        assert len(questions.all) == 1
