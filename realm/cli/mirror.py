"""Keeps the corpus as folders are: what has not changed is not written again, what is gone from
them is deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from realm.client import Client
from realm.corpus.importers import SOURCE, Problem
from realm.errors import InvalidInput
from realm.v1.types_pb2 import Document

#: Of one call.
DELETED_AT_ONCE = 1_000
#: For changes that the kernel does not tell, as of shared folders.
LOOK_AGAIN_MS = 5_000
#: A file is read once it has been left alone for so long.
SETTLED_MS, STEP_MS = 400, 50


@dataclass(slots=True)
class Mirror:
    """Of the folders among `paths`. A document is of a folder if its file lay in it."""

    client: Client
    paths: Sequence[Path]
    unchanged: int = 0
    _stored: dict[str, tuple[bytes, Path]] = field(default_factory=dict, init=False)
    _seen: set[str] = field(default_factory=set, init=False)
    #: By document, size and time of change of its file as it was read last.
    _stamps: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """:raises InvalidInput: without a folder."""
        folders = [path.resolve() for path in self.paths if path.is_dir()]
        if not folders:
            raise InvalidInput("--mirror keeps folders: give at least one", field="paths")
        for each in self.client.documents(where=SOURCE, with_text=True):
            source = Path(each.document.metadata[SOURCE])
            if any(source.is_relative_to(folder) for folder in folders):
                self._stored[each.document.id] = _digest(each.document), source

    def begin(self) -> None:
        """The folders are looked through once more."""
        self.unchanged = 0
        self._seen.clear()

    def is_unchanged(self, path: Path, document_id: str) -> bool:
        """Whether the file is as it was when it was read last."""
        try:
            found = path.stat()
        except OSError:
            return False  # reading it will say why
        stamp = (found.st_size, found.st_mtime_ns)
        if self._stamps.get(document_id) != stamp:
            self._stamps[document_id] = stamp
            return False
        self._seen.add(document_id)
        self.unchanged += 1
        return True

    def changed(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Those that the corpus does not hold like this."""
        for document in documents:
            self._seen.add(document.id)
            stored, _ = self._stored.get(document.id, (b"", None))
            if stored == (digest := _digest(document)):
                self.unchanged += 1
            else:
                yield document
                if source := document.metadata.get(SOURCE):
                    self._stored[document.id] = digest, Path(source)

    def delete_missing(self, problems: Iterable[Problem]) -> list[str]:
        """Deletes what the folders hold no longer; returns its ids. Call once all are read.

        :param problems: what could not be read is not known to be gone, nor what lies in it.
        """
        unread = [problem.path.resolve() for problem in problems]
        gone = [
            name
            for name, (_, source) in self._stored.items()
            if name not in self._seen and not any(source.is_relative_to(path) for path in unread)
        ]
        for start in range(0, len(gone), DELETED_AT_ONCE):
            self.client.delete(gone[start : start + DELETED_AT_ONCE])
        for name in gone:
            del self._stored[name]
            self._stamps.pop(name, None)
        return gone


def folder_changes(folders: Sequence[Path]) -> Iterator[None]:
    """At once, whenever something changes in the folders, and now and then; until Ctrl-C."""
    from watchfiles import watch

    yield
    for _ in watch(
        *folders,
        debounce=SETTLED_MS,
        step=STEP_MS,
        rust_timeout=LOOK_AGAIN_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield


def _digest(document: Document) -> bytes:
    return hashlib.sha256(document.SerializeToString(deterministic=True)).digest()
