"""Deduplicates write requests: an id is bound to the content written under it.

The corpus table holds the ids durably; this is the leader's memory of the newest, bounded in count
and age. Ages are by this process's own clock: what is read from the table counts as new.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from realm.corpus.documents import Document, shown
from realm.corpus.table import CorpusTable
from realm.errors import RequestIdReused
from realm.v1.types_pb2 import Filter

#: Most requests in memory, about 220 bytes each; at least half as many are remembered.
MOST = 1 << 20
#: Unless there are more, a request is remembered at least this long and at most twice as long.
SECONDS = 24 * 3600.0
#: Longest time counted between two versions of the table: their stamps may come from two
#: machines' clocks.
LONGEST_PAUSE = SECONDS / 2

DIGEST_BYTES = 16


def digest_of(
    documents: Sequence[Document], deletions: Sequence[str], filter: Filter | None = None
) -> str:
    """Equal for equal documents and deletions in the same order, under the same filter."""
    given = [_fields(each) for each in documents]
    parts: list[Any] = [given, list(deletions)]
    if filter is not None:
        parts.append(filter.SerializeToString(deterministic=True).hex())
    asked = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return _hash(asked).hex()


def _fields(document: Document) -> list[object]:
    """Those of earlier releases first: what they were asked for keeps its digest."""
    later = [document.answer] if document.answer else []
    return [document.id, document.title, document.text, document.metadata, *later]


class RequestHistory:
    """Used by the writer's thread only."""

    def __init__(
        self,
        most: int = MOST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._half = most // 2
        self._seconds = seconds
        self._clock = clock
        self._young: dict[bytes, tuple[int, bytes]] = {}
        self._old: dict[bytes, tuple[int, bytes]] = {}
        self._young_since = clock()
        self._newest = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def knows(self, request_id: str) -> bool:
        key = _hash(request_id)
        return key in self._young or key in self._old

    def version_of(self, request_id: str, digest: str) -> int:
        """The version that holds a request whose id is known.

        :param digest: from `digest_of`; empty if unknown: then only the id counts.
        :raises RequestIdReused: if the id is known with another content.
        """
        key = _hash(request_id)
        version, before = self._young[key] if key in self._young else self._old[key]
        if digest and before and bytes.fromhex(digest) != before:
            raise RequestIdReused(
                f"the request id {shown(request_id)} belongs to another write, of corpus version"
                f" {version}: nothing was written, give each write an id of its own",
                field="request_id",
                request_id=shown(request_id),
                corpus_version=version,
            )
        return version

    def learn(self, request_id: str, digest: str, version: int) -> None:
        """Remembers a request that was written."""
        self._newest = max(self._newest, version)
        if self.knows(request_id):
            return
        if len(self._young) >= self._half:
            self._turn()
        self._young[_hash(request_id)] = version, bytes.fromhex(digest)

    def read(self, table: CorpusTable) -> None:
        """Learns the requests that the table holds and this does not know yet."""
        self.forget_old()
        rows = table.requests(2 * self._half, self._newest)
        rows = rows.filter(pa.array(_ages(rows) < 2 * self._seconds))
        for row in rows.to_pylist():
            self.learn(row["request_id"], row["request_digest"] or "", row["version"])

    def forget_old(self) -> None:
        """Call before anything is learnt."""
        passed = self._clock() - self._young_since
        if passed >= self._seconds:
            self._turn()
        if passed >= 2 * self._seconds:
            self._turn()

    def _turn(self) -> None:
        self._young, self._old = {}, self._young
        self._young_since = self._clock()


def _ages(rows: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds from each row to the last one; jumps of a clock count little."""
    stamps = rows["written_at"].to_numpy()
    passed = np.clip(np.diff(stamps, append=stamps[-1:]), 0.0, LONGEST_PAUSE)
    return np.cumsum(passed[::-1])[::-1]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
