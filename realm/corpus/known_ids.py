"""Where each of many ids was met first, in bounded memory: beyond it, in a file without a name."""

from __future__ import annotations

import hashlib
import sqlite3

#: KiB of them that are held at once, about half a million.
CACHE = 16 << 10


class KnownIds:
    """Of ids their hashes alone, of 64 bits."""

    def __init__(self) -> None:
        # A database without a name is a temporary file, which goes with its connection.
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table.execute(f"PRAGMA cache_size = -{CACHE}")
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("CREATE TABLE met (id INTEGER PRIMARY KEY, file INTEGER, line INTEGER)")
        self._table.execute("BEGIN")

    def first(self, document_id: str, file: int, line: int) -> tuple[int, int]:
        """File and line where it was met first: here, if it is new."""
        digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
        key = int.from_bytes(digest, "big", signed=True)
        added = self._table.execute(
            "INSERT OR IGNORE INTO met VALUES (?, ?, ?)", (key, file, line)
        ).rowcount
        if added:
            return file, line
        found: tuple[int, int] = self._table.execute(
            "SELECT file, line FROM met WHERE id = ?", (key,)
        ).fetchone()
        return found
