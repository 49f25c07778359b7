"""The promises of docs/guarantees.md that a history can show broken, under their numbers there."""

from __future__ import annotations

from enum import IntEnum


class Promise(IntEnum):
    DURABLE = 1
    NOT_OUTDATED = 2
    WHOLE = 3
    ONE_VERSION = 4
    COMMITTED = 5
    OWN_WRITES = 6
    NEVER_BACK = 7
    WRITTEN_ONCE = 8
    AVAILABLE = 9

    @property
    def sentence(self) -> str:
        return SENTENCES[self]


SENTENCES = {
    Promise.DURABLE: "An acknowledged write is never lost.",
    Promise.NOT_OUTDATED: "What was replaced or deleted does not come back.",
    Promise.WHOLE: "An answer that names a corpus version lacks nothing up to it.",
    Promise.ONE_VERSION: "Query encoder, index and reader of an answer are of one version.",
    Promise.COMMITTED: "Only an index that passed the gate and was committed answers.",
    Promise.OWN_WRITES: "Who asks for a corpus version gets an answer that holds it, or an error.",
    Promise.NEVER_BACK: "A client never sees an older version after a newer one.",
    Promise.WRITTEN_ONCE: "A write happens once, and only what was written is found.",
    Promise.AVAILABLE: "Questions are answered and writes taken while the index is replaced.",
}
