"""CSV and TSV, DPR's passages among them (`id`, `text`, `title`): a document a row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from realm.corpus.containers import Asked, Found, as_text, container
from realm.corpus.rows import from_cells, read_table


@container(".csv", ".tsv")
def read_rows(file: BinaryIO, asked: Asked) -> Iterator[Found]:
    with as_text(file, asked) as text:
        for number, row in read_table(text, asked.longest):
            yield number, partial(from_cells, row, asked.columns)
