"""The corpus is the only copy of the documents: while it is damaged nothing is written and
nothing made of it goes live, live answers; all goes on when an operator has restored the file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from realm.corpus.table import CorpusTable
from realm.errors import DependencyUnavailable
from realm.records.store import Store
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(40)]


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 4]) + data[len(data) // 2 + 1 :]


def newest_rows(store: Store) -> str:
    return max(path for path in store.files("corpus") if path.startswith("corpus/part-"))


def newest_entry(store: Store) -> str:
    return max(path for path in store.files("corpus/_delta_log") if path.endswith(".json"))


@pytest.mark.parametrize("choose", [newest_rows, newest_entry])
@pytest.mark.parametrize("damage", [flip, None])
def test_live_answers_nothing_is_written_and_all_goes_on_with_the_file_restored(
    make_bench: Callable[..., Bench],
    choose: Callable[[Store], str],
    damage: Callable[[bytes], bytes] | None,
) -> None:
    bench = make_bench()
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    version = bench.write([document(100)])
    bench.until_applied(version)

    path = choose(bench.store)
    backup = bench.store.read(path)
    if damage is None:
        bench.store.delete(path)
    else:
        bench.store.write(path, damage(backup))
    bench.restart_indexer()
    bench.publish(step=40)
    with pytest.raises(DependencyUnavailable, match="corpus"):
        bench.write([document(200)])
    assert bench.documents_found(document(100).text)[0] == "document-100"
    assert bench.live() == 1

    bench.store.write(path, backup)
    bench.until_live(2)
    after = bench.write([document(201)])
    bench.until_applied(after)
    assert CorpusTable(bench.store).newest(["document-100"])["document-100"].document
    for number in (7, 100, 201):
        assert bench.documents_found(document(number).text)[0] == f"document-{number}"
