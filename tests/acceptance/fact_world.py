"""A world of facts, (entity, attribute) → value, that a masked LM can only know by retrieving.

Passages and questions name entities alike and attributes by different words, and values are
redrawn as training goes: a reader cannot keep them in its weights, and a retriever that knows the
entity alone finds the right passage once in as many times as an entity has attributes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bench.tiny import random_base
from realm.corpus.documents import Document, is_held_out
from realm.corpus.passages import Passage, split_document
from realm.model.checkpoint import Model, new_model
from realm.model.inputs import Encoded, InputBuilder, InputLimits
from realm.objectives.candidates import Asked, Candidate
from realm.retrieval import Retrieval
from realm.text.salient_spans import Span

ENTITIES, ATTRIBUTES, VALUES = 44, 5, 40
#: ∅, the entity's own passages and 2 of other entities: without these, masked LM over an index that
#: is not refreshed says nothing about entities any more, and the retriever drifts away from them.
CANDIDATES = 1 + ATTRIBUTES + 2
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".")
FILLERS = ("the", "of", "is", "in", "they", "say", "all", "folk", "know", "well")

Fact = tuple[int, int]


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(count)]


ENTITY_NAMES = _names("e", ENTITIES)
PASSAGE_WORDS, QUESTION_WORDS = _names("p", ATTRIBUTES), _names("q", ATTRIBUTES)
VALUE_NAMES = _names("v", VALUES)
VOCABULARY = [
    *(*SPECIAL, *FILLERS),
    *(*ENTITY_NAMES, *PASSAGE_WORDS, *QUESTION_WORDS, *VALUE_NAMES),
]


class World:
    """The facts as they are now. Ids stay when values change: such a change is an edit."""

    #: Values come again and again, in copies of a world too, so each text is cut once.
    _cut: ClassVar[dict[tuple[str, str], Passage]] = {}

    def __init__(self, inputs: InputBuilder, seed: int) -> None:
        self._inputs = inputs
        self._rng = random.Random(seed)
        self.facts: list[Fact] = [(e, a) for e in range(ENTITIES) for a in range(ATTRIBUTES)]
        self._ids = {fact: _learnable(f"fact-{fact[0]}-{fact[1]}") for fact in self.facts}
        self.redraw()

    def redraw(self) -> None:
        """Another value for each fact."""
        self._values = {fact: self._rng.choice(VALUE_NAMES) for fact in self.facts}
        self.passages = [self._passage(self._ids[fact], *fact) for fact in self.facts]

    def told(self) -> Iterator[Passage]:
        """The passages, by chance, without end: all that the warm start reads."""
        while True:
            yield self._rng.choice(self.passages)

    def asked(self) -> Iterator[Passage]:
        """Questions with their answers, by chance, without end."""
        while True:
            yield self._question(self._rng.choice(self.facts))

    def never_asked(self) -> list[int]:
        """Places in `facts` whose questions no objective draws: their ids are held out."""
        return [i for i, fact in enumerate(self.facts) if is_held_out(_question_id(fact))]

    def queries(self) -> list[Encoded]:
        """Each fact's question as the retriever reads it, its value masked."""
        mask, values = self._inputs.mask, {VOCABULARY.index(name) for name in VALUE_NAMES}
        tokenized = [self._inputs.tokenize(self._question(fact).text)[0] for fact in self.facts]
        return [
            self._inputs.query_from_ids([mask if one in values else one for one in ids])
            for ids in tokenized
        ]

    def echo(self, value: str) -> Candidate:
        """A passage about anything that happens to say this value."""
        entity, attribute = self._rng.choice(self.facts)
        return Candidate.of(self._passage(_learnable("echo"), entity, attribute, value))

    def _passage(self, id: str, entity: int, attribute: int, value: str = "") -> Passage:
        name, word = ENTITY_NAMES[entity], PASSAGE_WORDS[attribute]
        value = value or self._values[entity, attribute]
        text = f"The {word} of {name} is {value}. In {name} all folk know well."
        return self._only_passage(id, text)

    def _question(self, fact: Fact) -> Passage:
        name, word = ENTITY_NAMES[fact[0]], QUESTION_WORDS[fact[1]]
        text = f"They say in {name} {word} {self._values[fact]}."
        return self._only_passage(_question_id(fact), text)

    def _only_passage(self, id: str, text: str) -> Passage:
        if (id, text) not in self._cut:
            document = Document(id, "", text)
            self._cut[id, text] = split_document(document, 1, self._inputs)[0]
        return self._cut[id, text]


class Values:
    """A `SpanTagger` that knows a value when it sees one."""

    def tag_all(self, texts: Sequence[str]) -> list[list[Span]]:
        return [self.tag(text) for text in texts]

    def tag(self, text: str) -> list[Span]:
        words = [word.strip(".") for word in text.split()]
        found = [word for word in words if word in VALUE_NAMES]
        return [Span(text.index(one), text.index(one) + len(one), "name") for one in found]


class Echo:
    """A `CandidateSearch` that reads the answer out again from a passage about something else.

    Whoever learns from it learns to copy, which any published masked LM can, and nothing about
    which passage to trust: entity and attribute there are drawn by chance.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._answers: list[str] = []

    def listening(self, questions: Iterator[Passage]) -> Iterator[Passage]:
        for question in questions:
            if is_held_out(question.document_id):
                continue  # no objective would use it, and answers and queries must keep step
            (span,) = Values().tag(question.text)
            self._answers.append(question.text[span.start : span.end])
            yield question

    def search(
        self, asked: Sequence[Asked], limit: int, way: Retrieval = Retrieval.HYBRID
    ) -> list[list[Candidate]]:
        answers, self._answers = self._answers[-len(asked) :], []
        return [[self._world.echo(answer)] for answer in answers]


def tiny_model(seed: int) -> Model:
    """A random BERT of two layers over the world's words."""
    base = random_base(
        _tokenizer(),
        InputLimits(passage=32, title=8, query=24, reader=48),
        seed=seed,
        hidden_size=64,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        initializer_range=0.125,
    )
    return new_model(
        base,
        seed=seed,
        starter=False,
        scale_init=5.0,
        candidates=CANDIDATES,
        max_span_width=1,
    )


def _tokenizer() -> Tokenizer:
    words = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _question_id(fact: Fact) -> str:
    return f"question-{fact[0]}-{fact[1]}"


def _learnable(name: str) -> str:
    """The name, with a number that puts it among the documents that may be learnt from."""
    return next(one for n in range(100) if not is_held_out(one := f"{name}-{n}"))
