"""A document that no embedder gets through: it is put aside and named, everything else goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from realm.corpus.changes import changes_file, read_changes, write_changes
from realm.corpus.documents import Document
from realm.corpus.passage_files import cut
from realm.corpus.table import DocumentState
from realm.records.states import State
from services.indexer.writes import pieces
from tests.integration.embedder_double import BREAKS, KILLS, OUT_OF_ORDER
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(40)]


def bad(number: int, word: str = KILLS) -> Document:
    """Whose third passage of several no embedder gets through."""
    good = document(number)
    return dataclasses.replace(good, text=f"{good.text} {word} {document(number + 1000).text}")


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Generation 1 is live."""
    made = make_bench()
    made.start()
    made.write(DOCUMENTS)
    made.publish(step=0)
    made.until_live(1)
    return made


def parked(bench: Bench) -> list[tuple[str, int]]:
    return [(each.document_id, each.version) for each in bench.indexer.status.now().parked]


def found(bench: Bench, wanted: Document) -> bool:
    return wanted.id in bench.documents_found(wanted.text)


@pytest.mark.parametrize("word", [KILLS, BREAKS])
def test_one_document_that_cannot_be_embedded_holds_up_no_other(bench: Bench, word: str) -> None:
    beside = [document(number) for number in range(100, 130)]
    first = bench.write([*beside[:15], bad(500, word), *beside[15:]])
    bench.until_applied(bench.write([document(600)]))
    assert parked(bench) == [("document-500", first)]
    assert all(found(bench, each) for each in [*beside, document(600), DOCUMENTS[7]])
    assert not found(bench, bad(500, word))
    assert bench.registry.get_sample_value("realm_indexer_parked_documents") == 1
    assert not bench.store.files("quarantine")
    assert not bench.store.files("refused")


def test_a_document_that_is_deleted_is_parked_no_more(bench: Bench) -> None:
    bench.until_applied(bench.write([bad(500)]))
    assert parked(bench)
    bench.until_applied(bench.delete("document-500"))
    assert not parked(bench)
    assert not bench.store.files("parked")


def test_a_new_version_of_a_parked_document_is_found(bench: Bench) -> None:
    version = bench.write([bad(500)])
    bench.until_applied(version)
    bench.restart_indexer()
    assert parked(bench) == [("document-500", version)]
    bench.until_applied(bench.write([document(500)]))
    assert not parked(bench)
    assert found(bench, document(500))


def test_an_index_that_lags_parks_no_version_that_was_replaced(bench: Bench) -> None:
    """Its record would keep the newer version out of the next index."""
    version = bench.write([bad(500, BREAKS)])
    bench.until_applied(version)
    bench.until_applied(bench.write([document(500)]))
    assert not parked(bench)
    indexer, made = bench.indexer, bench.indexer.generations.get(1)
    inputs = indexer.records.inputs.of(made.snapshot)
    state = DocumentState("document-500", version, bad(500, BREAKS), 0)
    lagging = pieces.PiecewiseEmbedding(
        bench.store, indexer._tasks, inputs, made, cut([state], inputs), f"{made.folder}/lagging"
    )
    bench.until(lagging.poll, "the version fails again")
    assert [each.version for each in lagging.unembeddable()] == [version]
    source = changes_file(made.fingerprint, 900, 901)
    write_changes(bench.store, source, [state], inputs)
    indexer._make_applier()._join(made, lagging, source, made.delta_file(900, 901))
    assert not parked(bench)
    assert not read_changes(bench.store, source).passages
    bench.publish(step=10)
    bench.until_live(2)
    assert found(bench, document(500))


def test_what_a_parked_version_replaced_is_not_answered_with(bench: Bench) -> None:
    old = DOCUMENTS[7]
    assert found(bench, old)
    version = bench.write([dataclasses.replace(bad(7), id=old.id)])
    bench.until_applied(version)
    assert parked(bench) == [(old.id, version)]
    assert not found(bench, old)


def test_a_parked_document_stands_in_no_refresh_s_way(bench: Bench) -> None:
    bench.until_applied(bench.write([bad(500), document(600)]))
    bench.publish(step=40)
    bench.until_live(2)
    assert bench.indexer.generations.state(2) is State.LIVE
    assert found(bench, document(600))
    assert [each for each, _ in parked(bench)] == ["document-500"]


@pytest.mark.parametrize("word", [KILLS, BREAKS])
def test_a_build_goes_on_without_what_no_embedder_gets_through(
    make_bench: Callable[..., Bench], word: str
) -> None:
    bench = make_bench()
    bench.start()
    version = bench.write([*DOCUMENTS, bad(500, word), bad(501, word)])
    bench.publish(step=0)
    bench.until(lambda: bench.live() > 0, "something is live")
    assert sorted(parked(bench)) == [("document-500", version), ("document-501", version)]
    assert all(found(bench, each) for each in DOCUMENTS)
    bench.until_applied(bench.write([document(500)]))
    assert found(bench, document(500))
    assert [each for each, _ in parked(bench)] == ["document-501"]


def test_a_refresh_that_was_asked_for_is_not_lost_with_what_is_parked(
    make_bench: Callable[..., Bench],
) -> None:
    bench = make_bench()
    bench.indexer.controls.pause(True, "")
    bench.start()
    bench.write([*DOCUMENTS, bad(500)])
    bench.publish(step=0)
    bench.indexer.controls.request_refresh("for the test")
    bench.until(lambda: bench.live() > 0, "something is live")
    assert parked(bench)


@pytest.mark.parametrize("mended", ["after the harmless sentence", "before it"])
def test_embedders_that_fail_at_everything_park_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, mended: str
) -> None:
    monkeypatch.setattr(pieces, "AGAIN_SECONDS", 1.0)
    bench.store.write(OUT_OF_ORDER, b"")
    version = bench.write([document(500), document(501)])
    bench.until(lambda: len(bench.store.files("quarantine")) >= 3, "single documents fail")
    if mended == "after the harmless sentence":
        bench.until(lambda: not bench.store.files("quarantine"), "everything is tried again")
        assert not parked(bench)
    bench.store.delete(OUT_OF_ORDER)
    bench.until_applied(version)
    assert not parked(bench)
    assert found(bench, document(500))
    assert not bench.store.files("quarantine")


def test_a_document_that_is_deleted_meanwhile_is_not_embedded(bench: Bench) -> None:
    bench.stop_workers()
    before = bench.applied()
    text = " ".join(document(number).text for number in range(2_000, 2_400))
    big = bench.write([Document("big", "Big", text)])
    pieces = f"{bench.indexer.generations.get(1).folder}/pieces"
    bench.until(lambda: bool(bench.store.files(pieces)), "the big one is asked for")
    bench.delete("big")
    newest = bench.write([document(600)])
    bench.until(
        lambda: len(bench.store.files(pieces)) == 1, "only what the new step needs is asked for"
    )
    bench.start_worker()
    bench.until_applied(newest)
    assert found(bench, document(600))
    assert not bench.store.exists(bench.indexer.generations.get(1).delta_file(before, big))


def test_a_big_document_is_embedded_in_pieces(bench: Bench) -> None:
    big = " ".join(document(number).text for number in range(2_000, 2_100))
    bench.until_applied(bench.write([Document("big", "Big", big), document(600)]))
    for number in (2_000, 2_050, 2_099):
        assert "big" in bench.documents_found(document(number).text)
    assert not bench.store.files(f"{bench.indexer.generations.get(1).folder}/pieces")
