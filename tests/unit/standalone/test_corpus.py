"""What brings a corpus in again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.documents import Document
from realm.corpus.table import CorpusTable
from realm.errors import RealmError
from realm.records.store import Store
from realm.v1 import corpus_pb2, corpus_pb2_grpc
from services.indexer.writes.writer import Writer, check_changes
from services.standalone import corpus
from services.standalone.corpus import digest_of, import_once

NOTE = Document("note", "A title", "A text.", {"kind": "note", "year": "2020"})


def test_any_change_of_a_document_is_seen_and_the_order_of_its_metadata_is_none() -> None:
    changed = [
        replace(NOTE, id="other"),
        replace(NOTE, title="Another"),
        replace(NOTE, text="Another."),
        replace(NOTE, metadata={"kind": "note", "year": "2021"}),
    ]
    digests = {digest_of([each]) for each in [NOTE, *changed]}
    assert len(digests) == 5
    turned = replace(NOTE, metadata={"year": "2020", "kind": "note"})
    assert digest_of([turned]) == digest_of([NOTE])


def test_what_a_folder_holds_besides_documents_is_told(tmp_path: Path) -> None:
    for name in ("a.md", "b.odt", "c.html"):
        (tmp_path / name).write_text("words" if name != "c.html" else "<p>")
    documents, told = corpus.gather([tmp_path], 1_000)
    assert [each.id for each in documents] == ["a.md"]
    assert "c.html" in told[0]
    assert told[1:] == ["1 files not read: 1 .odt"]


class Cluster(corpus_pb2_grpc.CorpusServiceServicer):
    """A real corpus behind a server that may refuse everything from the n-th batch on."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(str(folder))
        self.writer = Writer(lambda: CorpusTable(self.store), 0.0, lambda version: None)
        self.writer.start()
        self.refuses_from = 1 << 30
        self.server = grpc.server(ThreadPoolExecutor(2))
        corpus_pb2_grpc.add_CorpusServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.at_once = threading.Lock()
        self.server.start()

    def UpsertDocuments(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self.at_once:
            self.refuses_from -= 1
            if self.refuses_from < 0:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "as if the process were killed")
        given = [Document(d.id, d.title, d.text, dict(d.metadata)) for d in request.documents]
        version = self.writer.submit(*check_changes(request.request_id, given, [], 1000))
        return corpus_pb2.UpsertDocumentsResponse(corpus_version=version.result(20))

    def texts(self) -> dict[str, str]:
        table = CorpusTable(self.store)
        states = table.states(table.version)
        return {each.document_id: each.document.text for each in states if each.document}

    def version(self) -> int:
        return CorpusTable(self.store).version

    def stop(self) -> None:
        self.server.stop(0).wait(20)
        self.writer.stop()
        self.writer.join(20)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "store")
    yield made
    made.stop()


def test_content_that_comes_back_is_stored_again(cluster: Cluster, tmp_path: Path) -> None:
    """`realm up` after each change of a file: the middle state stayed, and `written=1` was said."""
    for days in (30, 25, 30, 25):
        note = replace(NOTE, text=f"Employees get {days} days of leave.")
        assert import_once(cluster.address, [note], tmp_path / "imported.json") == 1
        assert cluster.texts() == {"note": note.text}
        assert import_once(cluster.address, [note], tmp_path / "imported.json") == 0


@settings(max_examples=15, deadline=None)
@given(
    runs=st.lists(
        st.tuples(
            st.lists(st.sampled_from(["first", "second", "third"]), min_size=1, max_size=4),
            st.one_of(st.none(), st.integers(0, 4)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_was_given_last_is_stored_and_nothing_is_written_twice(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[list[str], int | None]]
) -> None:
    """Any contents in turn, of a document a batch; any run may break off at any batch, and
    the next be of the same file or another."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("realm.client.requests.BATCH_DOCUMENTS", 1)
        try:
            for texts, breaks_at in runs:
                documents = [replace(NOTE, id=str(n), text=text) for n, text in enumerate(texts)]
                before = cluster.version()
                if breaks_at is not None:
                    cluster.refuses_from = breaks_at
                    try:
                        import_once(cluster.address, documents, folder / "imported.json")
                    except RealmError:
                        assert cluster.version() - before <= breaks_at
                    cluster.refuses_from = 1 << 30
                import_once(cluster.address, documents, folder / "imported.json")
                assert cluster.version() - before <= len(documents), "written twice"
                for document in documents:
                    assert cluster.texts()[document.id] == document.text
        finally:
            cluster.stop()


@pytest.mark.parametrize("damaged", [b"", b"{", b"[1]", b"\xff", b'{"digest": 3}'])
def test_after_a_damaged_record_all_is_written(
    cluster: Cluster, tmp_path: Path, damaged: bytes
) -> None:
    record = tmp_path / "imported.json"
    record.write_bytes(damaged)
    assert import_once(cluster.address, [NOTE], record) == 1
    assert import_once(cluster.address, [NOTE], record) == 0
