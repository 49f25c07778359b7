"""Dividing until only what cannot be embedded is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.indexer.writes.pieces import AT_ONCE, Piece, PieceSplitter, PieceStatus

LENGTHS = st.lists(st.integers(1, 12), max_size=40)


@given(LENGTHS, st.data(), st.integers(1, 20))
def test_every_passage_is_made_once_but_those_of_documents_that_cannot_be(
    lengths: list[int], data: st.DataObject, limit: int
) -> None:
    documents = [str(number) for number, length in enumerate(lengths) for _ in range(length)]
    poison = data.draw(
        st.sets(st.sampled_from(range(len(documents)))) if documents else st.just(set())
    )
    splitter = PieceSplitter(documents, limit)
    started: set[Piece] = set()
    looks = 0

    def status(piece: Piece) -> PieceStatus:
        assert piece.stop - piece.start <= limit
        if piece not in started:
            return PieceStatus.WAITING
        return (
            PieceStatus.FAILED if poison & set(range(piece.start, piece.stop)) else PieceStatus.MADE
        )

    while splitter.wanted:
        wanted = splitter.update(status)
        assert len(wanted) <= AT_ONCE
        # Some are done by the next look, at least one.
        started |= set(wanted[: data.draw(st.integers(1, AT_ONCE))])
        looks += 1
        assert looks <= 4 * len(documents) + 4, "it ends"
    assert set(splitter.failed) == {documents[row] for row in poison}
    made = [row for piece in splitter.made for row in splitter.rows(piece)]
    assert sorted(made) == [
        row for row, document in enumerate(documents) if document not in splitter.failed
    ]


def test_one_bad_passage_among_many_is_found_in_few_tasks() -> None:
    documents = [str(row) for row in range(640)]
    splitter = PieceSplitter(documents)
    tried = 0

    def status(piece: Piece) -> PieceStatus:
        nonlocal tried
        tried += 1
        return PieceStatus.FAILED if piece.start <= 333 < piece.stop else PieceStatus.MADE

    while splitter.wanted:
        splitter.update(status)
    assert set(splitter.failed) == {"333"}
    assert tried <= 10 + 16 + 4
