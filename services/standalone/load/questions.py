"""What the visitor asks: questions made from the titles and sentences of the corpus itself."""

from __future__ import annotations

import random

from realm.corpus.passages import Passage, from_table
from realm.records import arrow
from realm.records.generations import Generation
from realm.records.store import Store
from realm.text.inverse_cloze import inverse_cloze

PASSAGES_KEPT = 500
TITLE_SHARE = 0.5
LONGEST_QUESTION = 500


def sample_passages(store: Store, generation: Generation, rng: random.Random) -> list[Passage]:
    """Some passages of a generation, evenly from all of its shards."""
    found: list[Passage] = []
    share = max(1, PASSAGES_KEPT // max(1, len(generation.passage_files)))
    for file in generation.passage_files:
        passages = from_table(arrow.read_table(store, file))
        found += rng.sample(passages, min(share, len(passages)))
    return found


def make_question(passages: list[Passage], rng: random.Random) -> str:
    """What a title is about, or a sentence of a passage."""
    passage = rng.choice(passages)
    if passage.title and rng.random() < TITLE_SHARE:
        return f"What is {passage.title}?"[:LONGEST_QUESTION]
    cloze = inverse_cloze(passage.text, rng)
    return (cloze[0] if cloze else passage.text)[:LONGEST_QUESTION]
