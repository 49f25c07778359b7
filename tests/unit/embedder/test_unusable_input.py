"""Input, or a snapshot, that nothing can be made of: it is told, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from realm.records import arrow
from realm.records.failures import failure_of
from services.embedder.tasks import Job, Outcome
from tests.unit.embedder.conftest import World, probes_of, shard_of


def damaged_input(world: World) -> Job:
    data = bytearray(world.store.read(world.job.input_file))
    data[len(data) // 2] ^= 1
    world.store.write(world.job.input_file, bytes(data))
    return world.job


def missing_input(world: World) -> Job:
    world.store.delete(world.job.input_file)
    return world.job


def missing_snapshot(world: World) -> Job:
    world.store.delete(f"{world.snapshot.folder}/manifest.json")
    return world.job


def damaged_snapshot(world: World) -> Job:
    path = f"{world.snapshot.folder}/passage_encoder.safetensors"
    data = world.store.read(path)
    world.store.write(path, data[:-1] + bytes([data[-1] ^ 1]))
    return world.job


def lost_encoder(world: World) -> Job:
    world.store.delete(f"{world.snapshot.folder}/passage_encoder.safetensors")
    return world.job


def passages_of_another_tokenizer(world: World) -> Job:
    path = "passages/0123456789abcdef/001-000/c.arrow"
    world.store.write(path, world.store.read(world.job.input_file))
    return shard_of(world, path)


def no_token_ids(world: World) -> Job:
    table = arrow.read_table(world.store, world.job.input_file).drop_columns("body_ids")
    arrow.write_table(world.store, world.job.input_file, table)
    return world.job


@pytest.mark.parametrize(
    "damage",
    [
        damaged_input,
        missing_input,
        missing_snapshot,
        damaged_snapshot,
        lost_encoder,
        passages_of_another_tokenizer,
        no_token_ids,
    ],
)
def test_unusable_input_is_counted_and_leaves_nothing(
    world: World, damage: Callable[[World], Job]
) -> None:
    job = damage(world)
    assert world.embedder.embed_shard(job) is Outcome.CORRUPT
    assert world.outcomes("corrupt") == 1
    assert not world.store.exists(job.output_file)
    failure = failure_of(world.store, job.output_file)
    assert failure is not None
    assert (failure.snapshot, failure.input_file) == (job.snapshot, job.input_file)
    assert failure.why


def test_a_refusal_says_whether_the_input_is_damaged_or_the_snapshot(world: World) -> None:
    snapshot = damaged_snapshot(world)
    world.embedder.embed_shard(snapshot)
    found = failure_of(world.store, snapshot.output_file)
    assert found is not None
    assert not found.blames_input


def test_a_task_that_is_done_after_all_takes_its_refusal_back(world: World) -> None:
    assert world.store.root is not None
    file = world.store.root / world.job.input_file
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert world.embedder.embed_shard(world.job) is Outcome.CORRUPT
    found = failure_of(world.store, world.job.output_file)
    assert found is not None
    assert found.blames_input
    file.write_bytes(whole)
    assert world.embedder.embed_shard(world.job) is Outcome.DONE
    assert failure_of(world.store, world.job.output_file) is None


def test_question_without_words_is_unusable(world: World) -> None:
    job = probes_of(world, world.snapshot, pa.table({"question": [" "]}))
    assert world.embedder.encode_queries(job) is Outcome.CORRUPT
