"""Which tasks an embedder may carry out: those that the indexer could have asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from realm.records.generation import Generation, pieces_folder
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.records.task_files import TaskFiles, piece_files, probes_file, questions_file
from realm.records.vectors import vector_file

SHARD = "passages/f/001-000/c.arrow"
SNAPSHOT = "00000003-0123abcd"

Check = Callable[[int, int, str, str], bool]


def generation(number: int, snapshot: int) -> Generation:
    return Generation(
        number=number,
        snapshot=snapshot,
        step=1,
        corpus_version=1,
        fingerprint="f",
        vector_size=8,
        passage_files=(SHARD,),
        collection=f"passages-{number:08d}",
        created_at=0.0,
        why="test",
    )


@pytest.fixture
def files(tmp_path: Path) -> TaskFiles:
    generations = Generations(Store.open(str(tmp_path)))
    for each in (generation(1, 2), generation(2, 3)):
        generations.create(each)
        generations.record(each.number, State.BUILDING)
    return TaskFiles(generations)


def test_what_the_indexer_asks_for_is_carried_out(files: TaskFiles) -> None:
    own, other = generation(2, 3), generation(1, 2)
    assert files.is_shard(2, 3, SHARD, vector_file(SNAPSHOT, SHARD))
    assert files.is_piece(2, 3, *piece_files(f"{pieces_folder(2)}/a/b", "f", "name"))
    assert files.is_probes(2, 3, questions_file(own), probes_file(own, own))
    assert files.is_probes(2, 2, questions_file(own), probes_file(own, other))


ELSEWHERE = (
    "live/00000009.json",
    "control/paused.json",
    "keys/0000000000000000.json",
    "generations/00000002/manifest.json",
    "generations/00000002/probe_questions.arrow",
    "vectors/../live/00000009.json",
    f"vectors/{SNAPSHOT}/../../live/00000009.json",
    f"vectors/{SNAPSHOT}/f/001-000/d.arrow",
    "../outside",
    "/etc/passwd",
    "",
    "\0",
)


@pytest.mark.parametrize("output", ELSEWHERE)
def test_no_task_writes_anywhere_else(files: TaskFiles, output: str) -> None:
    """Whatever input a message names."""
    piece, _ = piece_files(f"{pieces_folder(2)}/a", "f", "name")
    checks: tuple[Check, ...] = (files.is_shard, files.is_piece, files.is_probes)
    sources = (SHARD, piece, questions_file(generation(2, 3)), output, "../x", "")
    for check in checks:
        assert not any(check(2, 3, source, output) for source in sources)


def test_a_task_belongs_to_its_generation_and_its_snapshot(files: TaskFiles) -> None:
    own = generation(2, 3)
    piece = piece_files(f"{pieces_folder(2)}/a", "f", "name")
    shard = (SHARD, vector_file(SNAPSHOT, SHARD))
    probes = (questions_file(own), probes_file(own, own))
    for number, snapshot in ((1, 3), (2, 2), (9, 3), (2, 9), (-1, 3)):
        assert not files.is_shard(number, snapshot, *shard)
        assert not files.is_piece(number, snapshot, *piece)
        assert not files.is_probes(number, snapshot, *probes)
    foreign = "passages/f/001-000/d.arrow"
    assert not files.is_shard(2, 3, foreign, vector_file(SNAPSHOT, foreign))
    for folder in (f"{pieces_folder(1)}/a", f"{pieces_folder(2)}/../../../live", "live"):
        source, output = piece_files(folder, "f", "name")
        assert not files.is_piece(2, 3, source, output) or ".." in output
    assert not files.is_piece(2, 3, *piece_files(f"{pieces_folder(2)}/a", "another", "name"))
