"""Passages out of the store, and the order in which they are drawn."""

from __future__ import annotations

from itertools import islice

import pytest

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage, to_table
from realm.errors import NotFound
from realm.model.checkpoint import Model
from realm.records import arrow
from realm.records.generations import Generation, Generations
from realm.records.states import State
from realm.records.store import Store
from services.trainer.corpus_view import CorpusView, Sampler, load_view, newest_generation
from tests import tiny


@pytest.fixture
def corpus(model: Model) -> list[Passage]:
    return tiny.passages(model.inputs, 30)


def put(store: Store, number: int, shards: list[list[Passage]], print_: str = "f") -> Generation:
    """A generation over passage files named by their content."""
    files = []
    for index, shard in enumerate(shards):
        name = f"passages/{print_}/{index:03d}/{shard[0].content_hash[:16]}-{len(shard)}.arrow"
        arrow.write_table(store, name, to_table(shard))
        files.append(name)
    made = Generation(number, 1, 0, 1, print_, 32, tuple(files), f"c-{number}", 0.0, "test")
    Generations(store).create(made)
    return made


def test_view_finds_every_passage_by_id(store: Store, corpus: list[Passage]) -> None:
    view = load_view(store, put(store, 1, [corpus[:12], corpus[12:]]), None)
    assert len(view) == len(corpus)
    for passage in corpus:
        assert view.find(passage.passage_id) == passage
    assert view.find("unknown") is None


def test_files_known_already_are_not_read_again(store: Store, corpus: list[Passage]) -> None:
    first = load_view(store, put(store, 1, [corpus[:12], corpus[12:]]), None)
    second = put(store, 2, [corpus[:12], corpus[12:-1]])
    store.delete(first.files[0])
    assert len(load_view(store, second, first)) == len(corpus) - 1
    with pytest.raises(NotFound):
        load_view(store, second, None)


def test_sampler_draws_each_trainable_passage_once_an_epoch(
    store: Store, corpus: list[Passage]
) -> None:
    view = load_view(store, put(store, 1, [corpus]), None)
    trainable = [p.passage_id for p in corpus if not is_held_out(p.document_id)]
    assert 0 < len(trainable) < len(corpus)
    sampler = Sampler(view, seed=1)
    epochs = [[p.passage_id for p in islice(sampler, len(trainable))] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(trainable)
    assert epochs[0] != epochs[1]


def test_sampler_goes_on_from_its_state(store: Store, corpus: list[Passage]) -> None:
    view = load_view(store, put(store, 1, [corpus]), None)
    sampler = Sampler(view, seed=1)
    list(islice(sampler, 40))
    again = Sampler(view, 1, **sampler.state())
    assert list(islice(sampler, 40)) == list(islice(again, 40))


def test_sampler_over_nothing_trainable_ends(store: Store, corpus: list[Passage]) -> None:
    held_out = [p for p in corpus if is_held_out(p.document_id)]
    view = load_view(store, put(store, 1, [held_out]), None)
    assert list(Sampler(view, 0)) == []
    assert list(Sampler(CorpusView((), {}), 0)) == []


def test_position_beyond_a_smaller_corpus_begins_the_next_epoch(
    store: Store, corpus: list[Passage]
) -> None:
    view = load_view(store, put(store, 1, [corpus[:10]]), None)
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
