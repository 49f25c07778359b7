"""Documents that the benches write: each revision of each has words that no other has."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from realm.corpus.documents import Document

SENTENCE_WORDS = (7, 11)
#: Words of a document that stand in all its sentences: so each leads to the others, as the gate's
#: probes need, which are looked for in passages without their sentence.
SHARED_WORDS = 4
#: From one passage of the tiny model to four, so that an edit also takes passages away.
SENTENCES = (3, 30)
QUESTION_WORDS = 48
SHORTEST_WORD = 4


@dataclass(frozen=True, slots=True)
class Author:
    """Writes the same text for the same document and revision, whenever it is asked."""

    words: Sequence[str]
    seed: int = 0

    def write(self, document_id: str, revision: int) -> Document:
        rng = random.Random(f"{self.seed}:{document_id}:{revision}")
        shared = rng.choices(self.words, k=SHARED_WORDS)
        sentences = [self._sentence(rng, shared) for _ in range(rng.randint(*SENTENCES))]
        title = f"{rng.choice(self.words)} {document_id}"
        return Document(document_id, title, " ".join(sentences))

    def question(self, document_id: str, revision: int) -> str:
        """Title and first words: what finds this revision and nothing else."""
        document = self.write(document_id, revision)
        return " ".join([document.title, *document.text.split()[:QUESTION_WORDS]])

    def _sentence(self, rng: random.Random, shared: Sequence[str]) -> str:
        own = rng.choices(self.words, k=rng.randint(*SENTENCE_WORDS) - len(shared))
        return " ".join([*own, *shared]).capitalize() + "."


def words_of(vocabulary: Sequence[str]) -> list[str]:
    """The whole words of a WordPiece vocabulary, in its order."""
    return [
        word
        for word in vocabulary
        if len(word) >= SHORTEST_WORD and word.isascii() and word.isalpha() and word.islower()
    ]
