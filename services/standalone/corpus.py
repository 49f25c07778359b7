"""Brings the corpus into a new cluster: the user's files, or the documentation of Python."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from realm.client import Client
from realm.client.requests import BATCH_BYTES
from realm.corpus.documents import Document
from realm.corpus.importers import Problem, in_words, read_documents
from realm.corpus.python_docs import python_documents
from realm.errors import InvalidInput
from realm.v1.types_pb2 import Document as DocumentMessage

BATCH = 200
#: Of an id, a title and metadata at their longest, rounded up.
OVERHEAD_BYTES = 20 << 10
IMPORT_SECONDS = 600.0


def gather(paths: list[Path], max_bytes: int) -> tuple[list[Document], list[str]]:
    """The documents to begin with, and what of the input is not among them.

    :raises InvalidInput: if a path does not exist or nothing usable is in any.
    """
    if not paths:
        return list(python_documents()), []
    documents: list[Document] = []
    problems: list[str] = []
    reading = read_documents(paths, max_bytes=max_bytes)
    for found in reading:
        if isinstance(found, Problem):
            problems.append(str(found))
        else:
            documents.append(found)
    if reading.left_out:
        problems.append(in_words(reading.left_out))
    if not documents:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise InvalidInput(f"no document in {', '.join(map(str, paths))}{first}")
    return documents, problems


def import_once(gateway: str, documents: list[Document], record: Path) -> int:
    """Writes the documents unless they are what was written last; returns how many.

    `record` holds the last sending: which documents, its name, whether it ended. Content that
    comes back is a sending of its own; one that broke off goes on under its own name, so that
    nothing is written twice.
    """
    digest = digest_of(documents)
    last = _last_sending(record)
    if last.get("digest") == digest and "documents" in last:
        return 0
    if last.get("digest") != digest or "sending" not in last:
        last = {"digest": digest, "sending": uuid.uuid4().hex}
        _replace(record, last)
    with Client(gateway, timeout=IMPORT_SECONDS) as client:
        for number, batch in enumerate(_batches(documents)):
            messages = [
                DocumentMessage(id=d.id, title=d.title, text=d.text, metadata=d.metadata)
                for d in batch
            ]
            # With its content: a release that makes other batches goes on with it too.
            part = f"{number}-{digest_of(batch)[:16]}"
            client.upsert(messages, request_id=f"import-{last['sending']}-{part}")
    _replace(record, {**last, "documents": len(documents)})
    return len(documents)


def _last_sending(record: Path) -> dict[str, Any]:
    """Nothing if there is none, or none that can be read: then all is written."""
    try:
        found = json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(record: Path, sending: dict[str, Any]) -> None:
    staged = record.with_name(f"{record.name}.new")
    staged.write_text(json.dumps(sending))
    staged.replace(record)


def _batches(documents: list[Document]) -> Iterator[list[Document]]:
    """Of bounded count and size: a message holds so many bytes and no more."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        more = len(document.text.encode()) + OVERHEAD_BYTES
        if batch and (len(batch) >= BATCH or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += more
    if batch:
        yield batch


def digest_of(documents: Iterable[Document]) -> str:
    """SHA-256 of everything in them that is written, and of their order."""
    digest = hashlib.sha256()
    for document in documents:
        fields = [document.id, document.title, document.text, document.metadata]
        digest.update(json.dumps(fields, sort_keys=True).encode())
    return digest.hexdigest()
