"""What is asked of a reader, and the answers that it finds."""

from __future__ import annotations

from dataclasses import dataclass

from realm.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Reading:
    """A question with the passages to read it in and log p(z|x) of each.

    `stored` has of each passage the answer that was stored with it, empty where it is to be read;
    without any it may be left out.
    """

    question: str
    passages: tuple[str, ...]
    log_priors: tuple[float, ...]
    answers: int = 1
    stored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.passages) != len(self.log_priors):
            raise InvalidInput(
                f"{len(self.passages)} passages cannot have {len(self.log_priors)} probabilities"
            )


@dataclass(frozen=True, slots=True)
class Support:
    """A passage that reads an answer: which of the reading's, and where, in characters.

    `prior` is p(z|x); `likelihood` is p(y|z,x), the softmax within the passage, summed over its
    spans of this text; [`start`, `end`) is the best of those spans in the passage's text.
    """

    passage: int
    prior: float
    likelihood: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """y as it stands in its best source, p(y|x), and the passages that support it, best first.

    `stored` if it was stored with them and not read.
    """

    text: str
    probability: float
    supports: tuple[Support, ...]
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """The best answers to a question, most probable first, and P(no answer).

    `abstains` where the null document outweighs each of them; a reader that never learnt to read
    it has no say in this: 0 and False. `evidence` has of each passage read the score of its best
    span less that of the empty one: by how much the reader would rather answer from it than not.
    `added` is what the reader adds to f(x, z) of each where passages are re-ranked: the score of
    its head for passages, or, without that head, as much evidence as its rules say.
    """

    found: tuple[FoundAnswer, ...]
    no_answer: float = 0.0
    abstains: bool = False
    evidence: tuple[float, ...] = ()
    added: tuple[float, ...] = ()

    @property
    def given(self) -> tuple[FoundAnswer, ...]:
        """What a user is told: nothing where the null document wins."""
        return () if self.abstains else self.found


NOTHING_READ = Answers(())
