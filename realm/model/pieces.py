"""What a tokenizer's pieces say about words: which one goes on with the word before it.

WordPiece marks what goes on (`##ing`); SentencePiece (`▁go`) and byte-level BPE (`Ġgo`) mark what
follows a space. Torch-free: the indexer cuts passages with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel
from tokenizers.models import WordPiece

from realm.text.questions import is_spaceless

CONTINUATION = "##"
SENTENCE_PIECE_SPACE, BYTE_LEVEL_SPACE = "▁", "Ġ"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece's letters without marks, and whether it may go on with a word: what stands before
    it decides for tokenizers that mark spaces."""

    letters: str
    goes_on: bool


class Pieces:
    """Reads the pieces of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.marks_spaces = not isinstance(tokenizer.model, WordPiece)
        byte_level = self.marks_spaces and tokenizer.token_to_id(BYTE_LEVEL_SPACE) is not None
        self._bytes = ByteLevel() if byte_level else None

    def read(self, piece: str) -> Piece:
        if not self.marks_spaces:
            return Piece(piece.removeprefix(CONTINUATION), piece.startswith(CONTINUATION))
        text = piece.replace(SENTENCE_PIECE_SPACE, " ")
        if self._bytes is not None:
            text = self._bytes.decode([piece])
        letters = text.lstrip()
        goes_on = letters == text and letters[:1].isalnum() and not is_spaceless(letters[:1])
        return Piece(letters, goes_on)

    def opens(self, piece: Piece) -> bool:
        """Whether a word may begin with this piece, whatever marks it has, by its first letter."""
        return self._apart(piece.letters[:1])

    def closes(self, piece: Piece) -> bool:
        """Whether a word may end with this piece, whatever follows it, by its last letter."""
        return self._apart(piece.letters[-1:])

    def continues(self, piece: str, text: str, start: int, previous: tuple[int, int]) -> bool:
        """Whether the piece at `start` of `text` goes on with a word, after one at `previous`."""
        if any(map(is_spaceless, text[max(start - 1, 0) : start + 1])):
            return False
        if not self.marks_spaces:
            return self.read(piece).goes_on
        if start < previous[1]:  # bytes of one character
            return True
        # A space may be a piece of its own.
        follows = previous == (start, start) or text[max(start - 1, 0) : start].isalnum()
        return follows and text[start : start + 1].isalnum()

    def _apart(self, letter: str) -> bool:
        punctuates = self.marks_spaces and letter != "" and not letter.isalnum()
        return is_spaceless(letter) or punctuates


def without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Offsets of a piece without the space that it is marked for."""
    while start < end and text[start].isspace():
        start += 1
    return start, end
