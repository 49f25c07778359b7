"""The tasks, called directly."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from realm.corpus.passages import PASSAGE_SCHEMA
from realm.errors import DependencyUnavailable
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.frozen_encoder import encode
from realm.model.publishing import publish_model
from realm.records import arrow, vectors
from realm.records.failures import failure_of
from realm.records.snapshots import Snapshots
from realm.records.states import State
from services.embedder.encoding import related_folders
from services.embedder.tasks import Job, Outcome
from tests.tiny import letter_model
from tests.unit.embedder.conftest import (
    TEXTS,
    World,
    begin_generation,
    cut,
    interrupted_by,
    piece_of,
    probes_of,
    shard_of,
    write_passages,
)


def expected_vectors(world: World) -> vectors.Vectors:
    passages = cut(world.model, TEXTS)
    inputs = [world.model.inputs.passage(p.title_ids, p.body_ids) for p in passages]
    return encode(world.model.retriever.passage, inputs, world.model.inputs.pad)


def test_shard_becomes_a_file_of_the_encoder_s_own_vectors(world: World) -> None:
    assert world.embedder.embed_shard(world.job) is Outcome.DONE
    table = vectors.read_vectors(world.store, world.job.output_file)
    passages = arrow.read_table(world.store, world.job.input_file)
    assert table.column("passage_id") == passages.column("passage_id")
    assert table.column("content_hash") == passages.column("content_hash")
    np.testing.assert_allclose(vectors.matrix(table), expected_vectors(world), atol=1e-5)


def test_file_says_what_made_it(world: World) -> None:
    world.embedder.embed_shard(world.job)
    about = arrow.metadata(vectors.read_vectors(world.store, world.job.output_file))
    assert set(about) == {"snapshot", "generation", "passages", "embedded", "seconds", "device"}
    assert about["snapshot"] == "1"
    assert about["device"] == "cpu"
    assert int(about["passages"]) == int(about["embedded"]) == len(cut(world.model, TEXTS))


def test_second_delivery_changes_nothing(world: World) -> None:
    world.embedder.embed_shard(world.job)
    before = world.store.read(world.job.output_file)
    assert world.embedder.embed_shard(world.job) is Outcome.EXISTS
    assert world.store.read(world.job.output_file) == before
    assert world.outcomes("exists") == 1


@pytest.mark.parametrize(
    "states", [[State.ABANDONED], [State.REJECTED], [State.LIVE, State.RETIRED, State.DELETED]]
)
def test_nothing_is_made_for_a_generation_that_is_not_wanted(
    world: World, states: list[State]
) -> None:
    for state in states:
        world.embedder.generations.record(world.job.generation, state)
    assert world.embedder.embed_shard(world.job) is Outcome.UNWANTED
    assert not world.store.exists(world.job.output_file)


def test_nothing_is_made_for_an_unknown_generation(world: World) -> None:
    job = dataclasses.replace(world.job, generation=99)
    assert world.embedder.embed_shard(job) is Outcome.UNWANTED


def test_vectors_of_unchanged_passages_are_taken_over(world: World) -> None:
    world.embedder.embed_shard(world.job)
    changed = cut(world.model, [*TEXTS, "four dogs slept."])
    file = write_passages(world.store, world.model, changed, "d")
    job = shard_of(world, file)
    assert world.embedder.embed_shard(job) is Outcome.DONE
    table = vectors.read_vectors(world.store, job.output_file)
    assert arrow.metadata(table)["embedded"] == "1"
    assert arrow.metadata(table)["passages"] == str(len(changed))
    old = vectors.matrix(vectors.read_vectors(world.store, world.job.output_file))
    kept = [passage.document_id != "d3" for passage in changed]
    np.testing.assert_array_equal(vectors.matrix(table)[kept], old)


def test_vectors_of_another_snapshot_are_not_taken_over(world: World) -> None:
    world.embedder.embed_shard(world.job)
    newer = publish_model(Snapshots(world.store), letter_model(seed=1), step=40)
    generation = begin_generation(world.store, newer, (world.job.input_file,))
    output = vectors.vector_file(newer.name, world.job.input_file)
    job = Job(newer.number, world.job.input_file, output, generation)
    assert world.embedder.embed_shard(job) is Outcome.DONE
    table = vectors.read_vectors(world.store, output)
    about = arrow.metadata(table)
    assert about["embedded"] == about["passages"]
    assert not np.allclose(vectors.matrix(table), expected_vectors(world), atol=1e-3)
    assert world.registry.get_sample_value("realm_embedder_loaded_step") == 40


def test_damaged_neighbour_costs_computing_only(world: World) -> None:
    folder = world.job.output_file.rpartition("/")[0]
    world.store.write(f"{folder}/0damaged.arrow", b"not arrow")
    assert world.embedder.embed_shard(world.job) is Outcome.DONE


def test_passages_of_equal_content_are_encoded_once(world: World) -> None:
    twins = cut(world.model, ["the same text.", "the same text."])
    file = write_passages(world.store, world.model, twins, "twins")
    job = shard_of(world, file)
    assert world.embedder.embed_shard(job) is Outcome.DONE
    table = vectors.read_vectors(world.store, job.output_file)
    assert table.num_rows == 2
    assert arrow.metadata(table)["embedded"] == "1"
    first, second = vectors.matrix(table)
    np.testing.assert_array_equal(first, second)


def test_changes_without_passages_give_a_file_without_rows(world: World) -> None:
    job = piece_of(world, PASSAGE_SCHEMA.empty_table())
    assert world.embedder.embed_changes(job) is Outcome.DONE
    table = vectors.read_vectors(world.store, job.output_file)
    assert table.num_rows == 0
    assert table.schema.field("vector").type.list_size == 16


@pytest.mark.parametrize("shared", [True, False])
def test_questions_keep_their_rows_and_get_vectors(world: World, shared: bool) -> None:
    model = letter_model(shared_towers=shared)
    snapshot = publish_model(Snapshots(world.store), model)
    asked = ["who ran?", "what sat?"]
    questions = pa.table({"question": asked, "document_id": ["d0", "d1"], "passage_id": ["p", "q"]})
    job = probes_of(world, snapshot, questions)
    assert world.embedder.encode_queries(job) is Outcome.DONE
    table = arrow.read_table(world.store, job.output_file)
    assert table.column_names == ["question", "document_id", "passage_id", "vector"]
    assert table.drop_columns("vector").to_pydict() == questions.to_pydict()
    inputs = [model.inputs.query(question) for question in asked]
    expected = encode(model.retriever.query, inputs, model.inputs.pad)
    np.testing.assert_allclose(vectors.matrix(table), expected, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_a_question_comes_with_the_vector_of_its_shortened_passage(
    world: World, shared: bool
) -> None:
    model = letter_model(shared_towers=shared)
    snapshot = publish_model(Snapshots(world.store), model)
    texts = ["the cat ran", ""]
    questions = pa.table(
        {"question": ["who ran?", "what sat?"], "title": ["a cat", ""], "passage": texts}
    )
    job = probes_of(world, snapshot, questions)
    assert world.embedder.encode_queries(job) is Outcome.DONE
    table = arrow.read_table(world.store, job.output_file)
    inputs = model.inputs
    rest = inputs.passage(inputs.title_ids("a cat"), inputs.tokenize("the cat ran")[0])
    found = vectors.matrix(table, "passage_vector")
    expected = encode(model.retriever.passage, [rest], inputs.pad)
    np.testing.assert_allclose(found[:1], expected, atol=1e-5)
    assert not found[1].any()


def test_questions_of_known_answers_are_answered_by_the_snapshot_s_reader(world: World) -> None:
    passage = "one fox ran. it ran far."
    rows = [
        {"question": "q", "reader_question": "who ran?", "reader_passage": passage},
        {"question": "q", "reader_question": "", "reader_passage": ""},
        {"question": "q", "reader_question": None, "reader_passage": None},
    ]
    job = probes_of(world, world.snapshot, pa.Table.from_pylist(rows))
    assert world.embedder.encode_queries(job) is Outcome.DONE
    reader = world.model.reader.eval()
    (expected,) = answer_questions(
        reader, world.model.inputs, [Reading("who ran?", (passage,), (0,))]
    )
    found = arrow.read_table(world.store, job.output_file)["reader_answer"].to_pylist()
    assert found == [expected.given[0].text, "", ""]


@pytest.mark.parametrize("shard", ["001-000", "002-000", "004-002", "008-006"])
def test_vectors_are_taken_over_when_the_number_of_shards_changes(world: World, shard: str) -> None:
    """All of the job's passages lie in one shard of two; those of the other are not looked at."""
    world.embedder.embed_shard(world.job)
    prefix, _, name = world.job.output_file.rsplit("/", 2)
    before = f"{prefix}/{shard}/{name}"
    made = world.store.read(world.job.output_file)
    world.store.delete(world.job.output_file)
    world.store.write(before, made)
    file = f"{world.job.input_file.rsplit('/', 2)[0]}/004-002/again.arrow"
    world.store.write(file, world.store.read(world.job.input_file))
    new = shard_of(world, file)
    assert f"{prefix}/{shard}" in related_folders(world.store, new.output_file)
    assert world.embedder.embed_shard(new) is Outcome.DONE
    table = vectors.read_vectors(world.store, new.output_file)
    assert arrow.metadata(table)["embedded"] == "0"


@pytest.mark.parametrize("shard", ["002-001", "004-001", "008-001"])
def test_shards_of_other_documents_are_left_alone(world: World, shard: str) -> None:
    world.store.write(f"vectors/s/f/{shard}/x.arrow", b"")
    assert related_folders(world.store, "vectors/s/f/004-002/y.arrow") == ["vectors/s/f/004-002"]


def test_store_that_does_not_answer_raises_for_a_later_try(world: World) -> None:
    assert world.store.root is not None
    file = world.store.root / world.job.input_file
    file.unlink()
    file.symlink_to(file)  # reading fails, yet not for want of the file
    with pytest.raises(DependencyUnavailable):
        world.embedder.embed_shard(world.job)
    assert world.outcomes("unavailable") == 1


def test_work_ends_between_batches_when_the_generation_is_given_up(world: World) -> None:
    generations = world.embedder.generations
    embedder = interrupted_by(
        world.embedder, lambda: generations.record(world.job.generation, State.ABANDONED)
    )
    assert embedder.embed_shard(world.job) is Outcome.UNWANTED
    assert not world.store.exists(world.job.output_file)


def taken_back(world: World) -> Job:
    """Changes that the generation has in a folder of its own."""
    return piece_of(world, arrow.read_table(world.store, world.job.input_file))


def test_work_ends_between_batches_when_its_documents_are_gone(world: World) -> None:
    job = taken_back(world)
    embedder = interrupted_by(world.embedder, lambda: world.store.delete(job.input_file))
    assert embedder.embed_changes(job) is Outcome.UNWANTED
    assert not world.store.exists(job.output_file)


def test_what_was_taken_back_while_it_waited_is_not_refused(world: World) -> None:
    job = taken_back(world)
    world.store.delete(job.input_file)
    assert world.embedder.embed_changes(job) is Outcome.UNWANTED
    assert failure_of(world.store, job.output_file) is None


def test_work_ends_between_batches_when_the_process_must(world: World) -> None:
    embedder = interrupted_by(world.embedder, lambda: world.embedder.liveness.drain(0))
    assert embedder.embed_shard(world.job) is Outcome.INTERRUPTED
    assert not world.store.exists(world.job.output_file)


def test_a_file_that_another_embedder_made_meanwhile_stays_as_it_is(world: World) -> None:
    theirs = b"of equal worth"
    embedder = interrupted_by(
        world.embedder, lambda: world.store.create(world.job.output_file, theirs)
    )
    assert embedder.embed_shard(world.job) is Outcome.EXISTS
    assert world.store.read(world.job.output_file) == theirs


def test_nothing_is_begun_once_the_process_drains(world: World) -> None:
    world.embedder.liveness.drain(60)
    assert world.embedder.embed_shard(world.job) is Outcome.INTERRUPTED


@pytest.mark.parametrize(
    "changes",
    [
        {"output_file": "live/00000002.json"},
        {"output_file": "../outside"},
        {"output_file": "\0"},
        {"output_file": 7},
        {"input_file": None},
        {"snapshot": "1"},
        {"snapshot": 9},
        {"generation": True},
    ],
)
def test_what_the_indexer_would_not_ask_for_is_refused(
    world: World, changes: dict[str, Any]
) -> None:
    """Whoever reaches Redis can send anything; the process goes on."""
    before = world.store.files("")
    job = dataclasses.replace(world.job, **changes)
    work = world.embedder
    for task in (work.embed_shard, work.embed_changes, work.encode_queries):
        assert task(job) is Outcome.REFUSED
    assert world.store.files("") == before
    assert work.embed_shard(world.job) is Outcome.DONE
