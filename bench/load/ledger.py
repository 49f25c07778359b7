"""What was acknowledged, and what must therefore be found.

At most one write of a document is under way at a time, so its acknowledged versions grow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Write:
    """An acknowledged write: `revision` is None for a deletion, `version` the corpus version."""

    revision: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A passage in a response that claimed to hold every write up to `corpus_version`."""

    document_id: str
    document_version: int
    corpus_version: int


@dataclass(slots=True)
class Entry:
    """A document's acknowledged writes, oldest first; `doubtful` once a write's fate is unknown."""

    writes: list[Write] = field(default_factory=list)
    doubtful: bool = False


class Ledger:
    """Every document that the bench ever wrote."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self.newest_version = 0

    def __len__(self) -> int:
        return len(self._entries)

    def acknowledged(self, document_id: str, revision: int | None, version: int) -> Write:
        """Notes a write that was acknowledged at a corpus version."""
        write = Write(revision, version)
        self._entries.setdefault(document_id, Entry()).writes.append(write)
        self.newest_version = max(self.newest_version, version)
        return write

    def unknown(self, document_id: str) -> None:
        """A write failed: whether it took place nobody knows, so nothing is asked of it."""
        self._entries.setdefault(document_id, Entry()).doubtful = True

    def is_doubtful(self, document_id: str) -> bool:
        """Whether the fate of a write of it is unknown."""
        entry = self._entries.get(document_id)
        return entry is not None and entry.doubtful

    def state(self, document_id: str) -> Write | None:
        """The newest acknowledged write."""
        entry = self._entries.get(document_id)
        return entry.writes[-1] if entry and entry.writes else None

    def last_revision(self, document_id: str) -> int:
        """The newest acknowledged revision, deleted since or not; -1 if there was none."""
        revisions = [each.revision for each in self._writes(document_id)]
        return max((each for each in revisions if each is not None), default=-1)

    def certain(self) -> dict[str, Write]:
        """The newest write of every document whose state is beyond doubt."""
        return {
            document_id: entry.writes[-1]
            for document_id, entry in self._entries.items()
            if entry.writes and not entry.doubtful
        }

    def present(self) -> dict[str, int]:
        """Version by id of every document that exists, beyond doubt."""
        return {
            document_id: write.version
            for document_id, write in self.certain().items()
            if write.revision is not None
        }

    def is_outdated(self, seen: Sighting) -> bool:
        """Whether the response's own corpus version holds a newer write of that document.

        Then an edit or a deletion was lost, or undone.
        """
        versions = [write.version for write in self._writes(seen.document_id)]
        newer = bisect_right(versions, seen.document_version)
        return newer < len(versions) and versions[newer] <= seen.corpus_version

    def is_unknown(self, seen: Sighting) -> bool:
        """Whether nobody ever wrote that document at that version."""
        entry = self._entries.get(seen.document_id)
        if entry is None:
            return True
        written = {write.version for write in entry.writes if write.revision is not None}
        return not entry.doubtful and seen.document_version not in written

    def _writes(self, document_id: str) -> list[Write]:
        entry = self._entries.get(document_id)
        return entry.writes if entry else []


def fresh_fault(write: Write, corpus_version: int, found_versions: Iterable[int]) -> str:
    """What is wrong with an answer that was to hold this write; empty if nothing is.

    :param found_versions: document versions of the document's passages in the response.
    """
    found = set(found_versions)
    if corpus_version < write.version:
        return f"asked for corpus version {write.version}, got {corpus_version}"
    if write.revision is None and found:
        return f"deleted at version {write.version}, found at {max(found)}"
    if write.revision is not None and write.version not in found:
        return f"written at version {write.version}, found at {sorted(found) or 'none'}"
    return ""


def compare(expected: dict[str, int], found: dict[str, set[int]]) -> tuple[list[str], list[str]]:
    """Documents lost and documents there that should not be (or at another version), sorted.

    :param expected: version by id of every document that exists.
    :param found: versions by id of everything that a collection holds.
    """
    lost = [each for each, version in expected.items() if version not in found.get(each, set())]
    wrong = [each for each, versions in found.items() if versions - {expected.get(each, -1)}]
    return sorted(lost), sorted(wrong)
