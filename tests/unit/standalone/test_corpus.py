"""What brings a corpus in again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from realm.corpus.documents import Document
from realm.errors import Unreachable
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


def test_what_was_written_is_not_written_again(tmp_path: Path) -> None:
    nobody = "127.0.0.1:1"
    done = tmp_path / "imported.json"
    done.write_text(f'{{"digest": "{digest_of([NOTE])}"}}')
    assert import_once(nobody, [NOTE], done) == 0
    with pytest.raises(Unreachable, match=nobody):
        import_once(nobody, [replace(NOTE, metadata={})], done)
