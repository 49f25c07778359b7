"""Imports of many documents: killed and given again, and followed as files change."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realm.client.requests import BATCH_DOCUMENTS
from tests.unit.cli.conftest import Shell
from tests.unit.gateway.site import until

COUNT = 5 * BATCH_DOCUMENTS + 7


async def started(realm: Shell, *arguments: str) -> asyncio.subprocess.Process:
    """`realm corpus import …` in a process of its own."""
    address = f"127.0.0.1:{realm.site.gateway.port}"
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "realm.cli.main", "corpus", "import", *arguments),
        *("--address", address, "--json"),
        env=dict(os.environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def noting(realm: Shell, monkeypatch: Any, after: Callable[[int], None]) -> list[str]:
    """The ids of all documents that were written, each time; `after` is told how many writes."""
    written: list[str] = []
    write = realm.indexer._write

    def noted(request: Any) -> int:
        if request.request_id not in realm.indexer.requests:
            written.extend(each.id for each in request.documents)
        version = write(request)
        after(len(realm.indexer.requests))
        return version

    monkeypatch.setattr(realm.indexer, "_write", noted)
    return written


async def test_an_import_that_was_killed_goes_on_and_writes_each_document_once(
    realm: Shell, tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "many.jsonl"
    names = [f"document-{number}" for number in range(COUNT)]
    file.write_text("".join(json.dumps({"id": n, "text": f"Of {n}."}) + "\n" for n in names))
    process: asyncio.subprocess.Process | None = None

    def kill_at_the_third(writes: int) -> None:
        """Written, and nobody is told."""
        if writes == 3 and process is not None and process.returncode is None:
            process.send_signal(signal.SIGKILL)

    written = noting(realm, monkeypatch, kill_at_the_third)
    process = await started(realm, str(file))
    assert await process.wait() == -signal.SIGKILL
    assert len(written) == 3 * BATCH_DOCUMENTS
    again = await started(realm, str(file))
    out, err = await again.communicate()
    assert again.returncode == 0, err
    found = json.loads(out)
    # What was written and not acknowledged was sent again, under the same name.
    assert found["resumed_after"] == 2 * BATCH_DOCUMENTS
    assert written == names
    assert sorted(realm.indexer.documents) == sorted(names)


async def test_what_was_changed_meanwhile_is_imported_from_the_start(
    realm: Shell, tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"id": str(n), "text": "w"}) + "\n" for n in range(COUNT)))
    process: asyncio.subprocess.Process | None = None

    def kill(writes: int) -> None:
        if writes == 2 and process is not None and process.returncode is None:
            process.send_signal(signal.SIGKILL)

    noting(realm, monkeypatch, kill)
    process = await started(realm, str(file))
    await process.wait()
    file.write_text(file.read_text().replace('"w"', '"word"'))
    again = await started(realm, str(file))
    found = json.loads((await again.communicate())[0])
    assert (found["resumed_after"], found["documents_written"]) == (0, COUNT)
    assert {each.text for each in realm.indexer.documents.values()} == {"word"}


async def test_a_followed_folder_is_written_as_its_files_are(realm: Shell, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "kea.md").write_text("# Kea\n\nKeas are parrots.")
    (docs / "moa.md").write_text("# Moa\n\nMoas are gone.")
    process = await started(realm, "--follow", str(docs))
    documents = realm.indexer.documents
    try:
        await until(lambda: sorted(documents) == ["kea.md", "moa.md"], "both")
        (docs / "kea.md").write_text("# Kea\n\nKeas live in the Alps.")
        await until(lambda: "Alps" in documents["kea.md"].text, "the edit")
        (docs / "new").mkdir()
        (docs / "moa.md").rename(docs / "new" / "moa.md")
        await until(lambda: sorted(documents) == ["kea.md", "new/moa.md"], "the move")
        (docs / "new" / "moa.md").unlink()
        (docs / "bad.pdf").write_bytes(b"no PDF")
        await until(lambda: sorted(documents) == ["kea.md"], "the deletion")
        (docs / "kea.md").rename(tmp_path / "kea.md")
        await until(lambda: "kea.md" not in documents, "what was moved away")
        (tmp_path / "kea.md").rename(docs / "kea.md")
        await until(lambda: "kea.md" in documents, "the same file, moved back")
        (docs / "last.md").write_text("The last.")
        await until(lambda: "last.md" in documents, "what comes after what cannot be read")
    finally:
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, err
    assert b"Traceback" not in err
    assert b"bad.pdf" in err
    versions = realm.indexer.version
    again = await realm("corpus", "import", "--mirror", "--skip-bad", str(docs))
    assert "0 documents written" in again.out
    assert realm.indexer.version == versions


async def test_fields_go_by_other_names(realm: Shell, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("pid,contents,lang\n1,Keas.,en\n")
    done = await realm(
        *("corpus", "import", str(file), "--column", "id=pid", "--column", "text=contents")
    )
    assert done.code == 0
    assert realm.indexer.documents["1"].text == "Keas."
    assert dict(realm.indexer.documents["1"].metadata) == {"lang": "en"}
    wrong = await realm("corpus", "import", str(file), "--column", "body=contents")
    assert wrong.code == 1
    assert "FIELD=NAME" in wrong.err
