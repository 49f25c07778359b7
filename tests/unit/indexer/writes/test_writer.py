from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from realm.corpus import compaction
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import InvalidInput, NotReady, RealmError, RequestIdReused
from realm.records.store import Store
from services.indexer.writes.writer import Writer, check_changes

SECONDS = 20


@pytest.fixture
def start(store: Store) -> Iterator[Callable[..., Writer]]:
    """Starts writers, which end with the test."""
    writers: list[Writer] = []

    def make(group_seconds: float = 0.0, on_commit: Callable[[int], None] = print) -> Writer:
        writer = Writer(lambda: CorpusTable(store), group_seconds, on_commit)
        writers.append(writer)
        writer.start()
        return writer

    yield make
    for writer in writers:
        writer.stop()
        writer.join(timeout=SECONDS)


def upsert(document_id: str, text: str = "Some text.", request: str = "") -> Change:
    return Change(document_id, Document(document_id, "", text), request or document_id + text)


def write(writer: Writer, *changes: Change) -> int:
    return writer.submit(changes[0].request_id, changes).result(timeout=SECONDS)


def text_of(store: Store, document_id: str) -> str | None:
    found = CorpusTable(store).lookup(document_id)()
    return found.document.text if found and found.document else None


def test_each_write_has_the_version_that_holds_it(
    store: Store, start: Callable[..., Writer]
) -> None:
    committed: list[int] = []
    writer = start(on_commit=committed.append)
    versions = [write(writer, upsert(name)) for name in "abc"]
    assert versions == [1, 2, 3]
    assert [each.document_id for each in CorpusTable(store).changes(1, 2)] == ["b"]
    assert committed[:2] == [1, 2]


def test_writes_that_come_together_share_a_commit(
    store: Store, start: Callable[..., Writer]
) -> None:
    writer = start(group_seconds=0.5)
    futures = [writer.submit(str(n), (upsert("same", str(n), str(n)),)) for n in range(20)]
    assert {future.result(timeout=SECONDS) for future in futures} == {1}
    assert text_of(store, "same") == "19"


def test_writers_from_many_threads_all_get_an_answer(
    store: Store, start: Callable[..., Writer]
) -> None:
    writer = start(group_seconds=0.01)
    versions: list[int] = []

    def client(number: int) -> None:
        versions.extend(write(writer, upsert(f"{number}-{at}")) for at in range(5))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=SECONDS)
    assert len(versions) == 30
    assert len(list(CorpusTable(store).states(max(versions)))) == 30


def test_a_request_sent_again_changes_nothing(store: Store, start: Callable[..., Writer]) -> None:
    writer = start(group_seconds=0.2)
    once = check_changes("once", [Document("a", "", "first")], [], 100)
    futures = [writer.submit(*once) for _ in range(2)]
    assert [future.result(timeout=SECONDS) for future in futures] == [1, 1]
    assert write(writer, upsert("a", "by another")) == 2
    assert writer.submit(*once).result(timeout=SECONDS) == 1
    assert start().submit(*once).result(timeout=SECONDS) == 1
    assert text_of(store, "a") == "by another"


def test_a_request_id_with_another_content_or_method_is_refused(
    store: Store, start: Callable[..., Writer]
) -> None:
    """In one group; `test_requests` sends it later, and to another leader."""
    writer = start(group_seconds=0.5)
    first = writer.submit(*check_changes("job-1", [Document("a", "", "first")], [], 100))
    others = [
        writer.submit(*check_changes("job-1", [], ["a"], 100)),
        writer.submit(*check_changes("job-1", [Document("a", "", "second")], [], 100)),
        writer.submit(*check_changes("job-1", [Document("b", "", "first")], [], 100)),
    ]
    good = writer.submit(*check_changes("job-2", [Document("c", "", "Text.")], [], 100))
    for other in others:
        with pytest.raises(RequestIdReused, match="job-1") as refused:
            other.result(timeout=SECONDS)
        assert refused.value.details["corpus_version"] == "1"
    assert first.result(timeout=SECONDS) == 1
    assert good.result(timeout=SECONDS) == 1
    assert text_of(store, "a") == "first"


def test_another_writer_is_noticed_and_the_write_can_be_sent_again(
    store: Store, start: Callable[..., Writer]
) -> None:
    writer = start()
    write(writer, upsert("a"))
    CorpusTable(store).append([upsert("b", request="theirs")])
    with pytest.raises(RealmError) as refused:
        write(writer, upsert("c"))
    assert refused.value.code == "UNAVAILABLE"
    assert text_of(store, "c") is None
    assert write(writer, upsert("c")) == 3
    assert write(writer, upsert("b", request="theirs")) == 2


def test_writes_taken_before_the_stop_are_committed(
    store: Store, start: Callable[..., Writer]
) -> None:
    writer = start(group_seconds=0.05)
    futures = [writer.submit(str(n), (upsert(str(n)),)) for n in range(5)]
    writer.stop()
    assert all(future.result(timeout=SECONDS) for future in futures)
    with pytest.raises(RealmError, match="stopping"):
        writer.submit("late", (upsert("late"),))


def test_the_table_does_not_scatter_between_two_rounds_of_maintenance(
    store: Store, start: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SCATTERED_FILES", 4)
    writer = start()
    versions = [write(writer, upsert(str(number))) for number in range(12)]
    assert versions == sorted(set(versions))
    table = CorpusTable(store)
    assert len(list(table.states(table.version))) == 12
    assert table.version > 12, "joining is a version, too"


def test_one_bad_document_refuses_all() -> None:
    with pytest.raises(InvalidInput, match="no text"):
        check_changes("", [Document("a", "", "Text."), Document("b", "", " ")], [], 100)
    with pytest.raises(InvalidInput):
        check_changes("", [], ["a", " "], 100)


class Panic(BaseException):
    """As native code raises it: no Exception."""


def test_writes_that_wait_for_a_dead_writer_fail_at_once() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def panic() -> CorpusTable:
        begun.set()
        go_on.wait(SECONDS)
        raise Panic("native")

    writer = Writer(panic, 0.0, print)
    writer.start()
    first = writer.submit("1", (upsert("a"),))
    assert begun.wait(SECONDS)
    behind = writer.submit("2", (upsert("b"),))
    go_on.set()
    for each in (first, behind):
        with pytest.raises(RealmError, match="send") as failed:
            each.result(timeout=SECONDS)
        assert failed.value.code == "UNAVAILABLE"
    writer.join(SECONDS)
    assert not writer.is_alive()
    with pytest.raises(NotReady):
        writer.submit("3", (upsert("c"),))
