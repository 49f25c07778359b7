"""Imports the initial corpus: the user's files, or the documentation of Python."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from realm.client import Client
from realm.client.requests import batches
from realm.corpus.documents import Document
from realm.corpus.importers import Problem, describe_skipped, read_documents
from realm.corpus.python_docs import python_documents
from realm.errors import InvalidInput
from realm.v1.types_pb2 import Document as DocumentMessage

IMPORT_SECONDS = 600.0


def gather(paths: list[Path], max_bytes: int) -> tuple[list[Document], list[str]]:
    """The initial documents, and what of the input was left out.

    :raises InvalidInput: if a path does not exist, or none holds a usable document.
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
    if reading.skipped:
        problems.append(describe_skipped(reading.skipped))
    if not documents:
        first = f"; the first problem: {problems[0]}" if problems else ""
        raise InvalidInput(f"no document in {', '.join(map(str, paths))}{first}")
    return documents, problems


def import_once(gateway: str, documents: list[Document], record: Path) -> int:
    """Writes the documents unless the last import wrote the same ones. Returns how many it wrote.

    `record` describes the last import: the digest of its documents, its name, whether it ended.
    Content that returns after another is a new import; an interrupted import continues under its
    own name, so that nothing is written twice.
    """
    digest = digest_of(documents)
    last = _last_import(record)
    if last.get("digest") == digest and "documents" in last:
        return 0
    if last.get("digest") != digest or "sending" not in last:
        last = {"digest": digest, "sending": uuid.uuid4().hex}
        _replace(record, last)
    messages = (
        DocumentMessage(
            id=each.id,
            title=each.title,
            text=each.text,
            metadata=each.metadata,
            answer=each.answer,
        )
        for each in documents
    )
    with Client(gateway, timeout=IMPORT_SECONDS) as client:
        for number, batch in enumerate(batches(messages)):
            # Named by its content too: a release may cut batches differently.
            part = f"{number}-{digest_of(batch.documents)[:16]}"
            client.upsert(batch.documents, request_id=f"import-{last['sending']}-{part}")
    _replace(record, {**last, "documents": len(documents)})
    return len(documents)


def _last_import(record: Path) -> dict[str, Any]:
    """Empty if there is none or it cannot be read: then everything is written."""
    try:
        found = json.loads(record.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(record: Path, content: dict[str, Any]) -> None:
    staged = record.with_name(f"{record.name}.new")
    staged.write_text(json.dumps(content))
    staged.replace(record)


def digest_of(documents: Iterable[Document | DocumentMessage]) -> str:
    """SHA-256 of all fields of the documents, in their order."""
    digest = hashlib.sha256()
    for each in documents:
        fields: list[object] = [each.id, each.title, each.text, dict(each.metadata)]
        if each.answer:  # an import of an earlier release keeps its digest
            fields.append(each.answer)
        digest.update(json.dumps(fields, sort_keys=True).encode())
    return digest.hexdigest()
