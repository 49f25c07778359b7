"""What is left of a document is found in whatever form a file writes it."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from realm.corpus.erasure import ErasureQuery, Trace, search_collections, search_store
from realm.errors import NotFound
from realm.records.store import Store

TEXT = "Ein „Café“ in Zürich"
WANTED = ErasureQuery(["document-7"], [TEXT])


def found(store: Store) -> set[str]:
    return {trace.place for trace in search_store(store, WANTED)}


def test_json_hides_neither_ids_nor_texts(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.write_json("a.json", {"id": "document-7"})
    store.write_json("b.json", {"asked": f"what is {TEXT}?"})
    store.write("c.json", f'{{"asked": "{TEXT}"}}'.encode())
    store.write_json("d.json", {"id": "document-77", "asked": "what is a Café?"})
    assert found(store) == {"a.json", "b.json", "c.json"}


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
)
def test_columns_are_read_whatever_kind_of_string_they_are(
    tmp_path: Path, kind: pa.DataType
) -> None:
    store = Store.open(str(tmp_path))
    for name, column, value in (
        ("id", "document_id", "document-7"),
        ("text", "text", f"They say: {TEXT}."),
        ("other", "text", "document-7 is not a whole cell here"),
    ):
        buffer = io.BytesIO()
        pq.write_table(pa.table({column: pa.array([value]).cast(kind)}), buffer)
        store.write(f"{name}.parquet", buffer.getvalue())
    assert found(store) == {"id.parquet", "text.parquet"}


def test_a_collection_that_goes_while_it_is_searched_holds_nothing() -> None:
    points = {("new", "document-7"): 2}

    def count(name: str, document_id: str) -> int:
        if name == "old":
            raise NotFound("Qdrant: collection `old` doesn't exist")
        return points.get((name, document_id), 0)

    wanted = ErasureQuery(["document-6", "document-7"])
    found = search_collections(["old", "new"], count, wanted)
    assert found == [Trace("new", "2 points of document document-7")]
