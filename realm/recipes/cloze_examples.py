"""Examples without a teacher: a sentence whose salient span is taken out asks for that span.

The answer stands in another passage, the one that the retriever ranks best among those that hold
it, as a user's question meets its answer (Lewis, Denoyer and Riedel 2019; Dhingra et al. 2018).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.evaluation.parallel import Progress, no_progress_bars
from realm.evaluation.searching import encode_passages, encode_questions
from realm.evaluation.systems import System
from realm.objectives.cloze_questions import cloze_questions
from realm.recipes.reading_examples import QuestionExamples, Scored
from realm.text.answers import normalise_answer
from realm.text.inverse_cloze import normalise_sentence
from realm.text.questions import Question, contains_answer
from realm.text.salient_spans import SpanTagger
from realm.text.sentences import sentence_spans

NEAREST = 20  # an answer in a passage that is further away is rather a coincidence
HARD = 4


def cloze_examples(
    system: System,
    passages: Sequence[Passage],
    most: int,
    rng: random.Random,
    *,
    skipped: Counter[str],
    tagger: SpanTagger,
    progress: Progress = no_progress_bars,
) -> list[QuestionExamples]:
    """At most `most` examples from passages; none of a held-out document takes part.

    `skipped` counts, by reason, sentences that gave none.
    """
    learnt = [one for one in passages if not is_held_out(one.document_id)]
    index = encode_passages(system, learnt, progress("cloze passages"))
    asked = _questions(index.passages, tagger, rng, skipped)
    rng.shuffle(asked)
    # Some questions find no other passage with their answer.
    asked = asked[: 4 * most]
    texts = [question.question for _, question, _ in asked]
    queries = encode_questions(system, texts, progress("cloze questions"))
    found, products = index.search(queries, NEAREST + 1)
    normalised = [normalise_answer(passage.text) for passage in index.passages]
    sentences = [normalise_sentence(passage.text) for passage in index.passages]
    material: list[QuestionExamples] = []
    for number, (origin, question, sentence) in enumerate(asked):
        if len(material) == most:
            break
        own: list[Scored] = []
        others: list[Scored] = []
        for row, product in zip(found[number], products[number], strict=True):
            text = index.passages[row].text
            if row == origin or sentence in sentences[row]:
                continue
            scored = Scored(text, float(product) * system.scale)
            holds = contains_answer(text, normalised[row], question)
            (own if holds else others).append(scored)
        if not own:
            skipped["answer_not_found"] += 1
            continue
        negatives = tuple(others[:HARD])
        material.append(QuestionExamples(question, tuple(own[:1]), negatives, negatives))
    return material


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


def _questions(
    passages: Sequence[Passage], tagger: SpanTagger, rng: random.Random, skipped: Counter[str]
) -> list[tuple[int, Question, str]]:
    """One question a usable sentence: the row it is from, the question, the bare sentence."""
    return [
        (
            row,
            Question(made.question, (made.answer,), None, passage.document_id),
            normalise_sentence(made.sentence),
        )
        for row, passage in enumerate(passages)
        for made in cloze_questions(_sentences(passage.text), tagger, rng, skipped)
        if made is not None
    ]
