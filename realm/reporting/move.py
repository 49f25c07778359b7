"""What a move of a cluster to another model takes, from what was measured: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of a vector's number, and what Qdrant's own rule adds for links and the rest.
FLOAT_BYTES, QDRANT_OVERHEAD = 4, 1.5
#: Collections while a refresh is built: live, candidate, retained.
COLLECTIONS = 3
SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Tried:
    """A model on a sample of documents, all computed on one device.

    :param passages: that the sample's documents are cut into.
    :param seconds: to encode them.
    :param size: of a vector.
    :param bytes: of the model's parameters.
    """

    passages: int
    seconds: float
    size: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What the live generation took.

    :param passages: that it has.
    :param rate: passages a second of one embedder; None: not recorded.
    :param others: seconds of all phases but waiting and embedding.
    :param passage_bytes: of its passage files.
    :param vector_bytes: of its vector files.
    """

    passages: int
    rate: float | None
    others: float
    passage_bytes: int
    vector_bytes: int


@dataclass(frozen=True, slots=True)
class Move:
    """`seconds` is all of the refresh, `embedding` what one embedder would take for its share of
    the work and that of all others; bytes are those that come on top of what is there."""

    passages: int
    embedding_seconds: float
    seconds: float
    store_bytes: int
    qdrant_bytes: int
    qdrant_bytes_meanwhile: int

    def cost(self, price_an_hour: float) -> float:
        """Of the embedders' devices."""
        return self.embedding_seconds / SECONDS_AN_HOUR * price_an_hour


def estimate(
    live: Measured, now: Tried, other: Tried, *, embedders: int, copies: int, same_cut: bool
) -> Move:
    """What the move from one model to another takes.

    The rate that embedders were seen at counts, times how much longer the sample took: whatever
    device they have, and whatever else runs there, is in it.

    :param now: the live model, None of whose figures but the ratio counts where a rate is known.
    :param copies: of each collection in Qdrant.
    :param same_cut: both models read the same passages.
    """
    more = other.passages / now.passages
    passages = round(live.passages * more)
    if live.rate:
        embedding = live.passages / live.rate * other.seconds / now.seconds
    else:
        embedding = passages * other.seconds / other.passages
    wider = more * other.size / now.size
    vectors = passages * other.size * FLOAT_BYTES * QDRANT_OVERHEAD * copies
    before = live.passages * now.size * FLOAT_BYTES * QDRANT_OVERHEAD * copies
    return Move(
        passages,
        embedding,
        embedding / embedders + live.others * max(1.0, wider),
        round(live.vector_bytes * wider + (0 if same_cut else live.passage_bytes * more))
        + other.bytes,
        round(vectors),
        round(vectors + (COLLECTIONS - 1) * before),
    )
