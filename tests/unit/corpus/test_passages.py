"""Passages cover their document, keep to the budget and equal the tokens of their own text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realm.corpus.documents import Document
from realm.corpus.passages import (
    MAX_CHARACTERS_PER_PIECE,
    PASSAGE_SCHEMA,
    Passage,
    content_hash,
    from_table,
    split_document,
    to_table,
)
from realm.corpus.structure import code, heading, row
from realm.errors import BadSettings, Corrupt
from realm.model.inputs import InputBuilder, InputLimits
from realm.text.sentences import sentence_spans
from realm.text.terms import count_terms, term_hash

TRICKY = (
    "the retrieval unbelievably 3.11 os.path word. End! 「好」 中文。字 한국어 e\u0301t\u0301e "
    "สวัสดีครับ مرحبا؟ [SEP] [MASK] ½ ﬁ \u200b x\u00ad donaudampfschifffahrt aaaaaaaaaaaaaaaaaaaaaa"
)
WORDS = st.sampled_from(TRICKY.split())
TEXTS = st.lists(WORDS | st.text(max_size=12), min_size=1, max_size=60).flatmap(
    lambda parts: st.sampled_from(["", " ", "\n", "  \n\n"]).map(lambda by: by.join(parts))
)
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ENGLISH = "The retriever keeps learning. The index keeps up with it, and answers all the while. "

relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def narrow(inputs: InputBuilder, length: int = 24) -> InputBuilder:
    return InputBuilder(inputs.tokenizer, InputLimits(passage=length, title=8))


def check_laws(document: Document, passages: list[Passage], inputs: InputBuilder) -> None:
    end = 0
    for ordinal, passage in enumerate(passages):
        assert passage.ordinal == ordinal
        assert passage.text == document.text[passage.start : passage.end]
        assert passage.body_ids == inputs.tokenize(passage.text)[0]
        budget = inputs.body_budget(passage.title_ids)
        assert len(passage.body_ids) <= budget
        assert len(passage.text) <= budget * MAX_CHARACTERS_PER_PIECE
        assert passage.title_ids == inputs.title_ids(passage.title)
        assert end <= passage.start < passage.end
        assert_headings_alone(document.text[end : passage.start])
        assert passage.text == passage.text.strip()
        end = passage.end
    assert not document.text[end:].strip()


def assert_headings_alone(skipped: str) -> None:
    assert all(re.match("#{1,6} |$", line.strip()) for line in skipped.splitlines())


@relaxed
@given(text=TEXTS.filter(lambda text: bool(text.strip())), title=st.text(CHARACTERS, max_size=40))
def test_any_text_is_covered_within_the_budget(text: str, title: str, inputs: InputBuilder) -> None:
    document = Document("d", title, text)
    for builder in (narrow(inputs), inputs):
        check_laws(document, split_document(document, 1, builder), builder)


BLOCKS = st.lists(
    st.builds(heading, st.integers(1, 6), WORDS)
    | st.lists(WORDS, min_size=1, max_size=40).map(" ".join)
    | st.lists(WORDS, max_size=40).map("\n".join).map(code)
    | st.lists(WORDS, min_size=2, max_size=12).map(row),
    min_size=1,
    max_size=12,
)


@relaxed
@given(blocks=BLOCKS)
def test_any_structure_is_covered_within_the_budget(
    blocks: list[str], inputs: InputBuilder
) -> None:
    document = Document("d", "Title", "\n\n".join(blocks))
    for builder in (narrow(inputs), inputs):
        check_laws(document, split_document(document, 1, builder), builder)


def test_a_passage_is_titled_by_the_headings_that_lead_to_it(inputs: InputBuilder) -> None:
    text = (
        "# Operations\n\nIntro.\n\n## Alerts\n\n### IndexStale\n\nThe index is stale.\n\n"
        "### NobodyLeads\n\nNobody leads.\n\n## Later\n\n## Clocks\n\nMay differ."
    )
    found = split_document(Document("d", "Operations", text), 1, inputs)
    assert [(passage.title, passage.text) for passage in found] == [
        ("Operations", "Intro."),
        ("Operations > Alerts > IndexStale", "The index is stale."),
        ("Operations > Alerts > NobodyLeads", "Nobody leads."),
        ("Operations", "## Later"),
        ("Operations > Clocks", "May differ."),
    ]
    assert set(map(term_hash, ("index", "stale", "indexstale"))) <= set(found[1].terms)


def test_a_long_path_keeps_its_ends(inputs: InputBuilder) -> None:
    text = f"## {'an outer ' * 20}\n\n### {'a middle ' * 20}\n\n#### Inner\n\nWords."
    (passage,) = split_document(Document("d", "Title", text), 1, inputs)
    assert passage.title == f"Title > {('a middle ' * 20).strip()} > Inner"
    (passage,) = split_document(Document("d", "Title", text), 1, narrow(inputs))
    assert passage.title == "Title > Inner"


def test_rows_and_code_are_cut_only_if_they_are_too_long(inputs: InputBuilder) -> None:
    rows = [row([f"name: alert {i}", "means: one thing. Or another."]) for i in range(60)]
    block = code("\n\n".join(f"step_{i}(). # then" for i in range(20)))
    document = Document("d", "", "\n".join(rows) + f"\n\n{ENGLISH * 14}\n\n{block}")
    found = split_document(document, 1, inputs)
    check_laws(document, found, inputs)
    assert sum(block in passage.text for passage in found) == 1
    assert all(sum(each in passage.text for passage in found) == 1 for each in rows)
    narrower = split_document(document, 1, narrow(inputs))
    check_laws(document, narrower, narrow(inputs))
    assert not any(block in passage.text for passage in narrower)


@pytest.mark.parametrize("folder", ["squad_open", "xquad_zh", "xquad_ar"])
def test_real_documents_under_headings_keep_their_offsets(
    folder: str, inputs: InputBuilder, shared_rows: Callable[[str], list[dict[str, str]]]
) -> None:
    rows = shared_rows(folder)[:40]
    text = "\n\n".join(f"## {each['title']}\n\n### {each['id']}\n\n{each['text']}" for each in rows)
    document = Document("all", "", text)
    found = split_document(document, 1, inputs)
    check_laws(document, found, inputs)
    by_title = {each["id"]: each for each in rows}
    for passage in found:
        article, paragraph = passage.title.split(" > ")
        assert article == by_title[paragraph]["title"]
        assert passage.text in by_title[paragraph]["text"]


@pytest.mark.parametrize("folder", ["squad_open", "xquad_zh", "xquad_ar"])
def test_real_documents_are_cut_at_sentence_ends(
    folder: str, inputs: InputBuilder, shared_rows: Callable[[str], list[dict[str, str]]]
) -> None:
    rows = shared_rows(folder)[:60]
    document = Document("all", rows[0]["title"], "\n\n".join(row["text"] for row in rows))
    passages = split_document(document, 1, inputs)
    check_laws(document, passages, inputs)
    ends = {end for _, end in sentence_spans(document.text)}
    at_ends = sum(passage.end in ends for passage in passages)
    assert at_ends / len(passages) > 0.95
    assert sum(len(passage.body_ids) for passage in passages) / len(passages) > 180


def test_a_short_document_is_one_passage_that_knows_where_it_came_from(
    inputs: InputBuilder,
) -> None:
    document = Document("d/1", "A Title", "  One sentence. Another one.\n")
    (passage,) = split_document(document, 7, inputs)
    assert (passage.document_id, passage.document_version, passage.ordinal) == ("d/1", 7, 0)
    assert (passage.start, passage.end) == (2, 28)
    assert passage.title_ids == inputs.title_ids("A Title")
    assert passage.content_hash == content_hash("A Title", "One sentence. Another one.")
    assert dict(zip(passage.terms, passage.term_counts, strict=True)) == count_terms(
        "a title", "one sentence another one"
    )


def test_the_last_two_passages_share_what_is_left(inputs: InputBuilder) -> None:
    one = len(inputs.tokenize(ENGLISH)[0])
    sentences = inputs.body_budget([]) // one * 3 + 1
    passages = split_document(Document("d", "", ENGLISH * sentences), 1, inputs)
    sizes = [len(passage.body_ids) for passage in passages]
    assert min(sizes) > max(sizes) / 3


def test_text_added_at_the_end_leaves_the_first_passages_alone(inputs: InputBuilder) -> None:
    before = split_document(Document("d", "t", ENGLISH * 100), 1, inputs)
    after = split_document(Document("d", "t", ENGLISH * 130), 1, inputs)
    assert len(before) > 4
    assert after[: len(before) - 2] == before[:-2]


def test_a_long_sentence_is_cut_between_words(inputs: InputBuilder) -> None:
    text = "unbelievable retrievers " * 400
    passages = split_document(Document("d", "", text), 1, inputs)
    assert len(passages) > 3
    assert {word for passage in passages for word in passage.text.split()} == set(text.split())


def test_a_word_longer_than_a_passage_is_cut_all_the_same(inputs: InputBuilder) -> None:
    document = Document("d", "", "한국어" * 12 + " " + "a" * 5_000)
    builder = narrow(inputs, 16)
    check_laws(document, split_document(document, 1, builder), builder)


def test_an_invisible_text_is_still_a_passage(inputs: InputBuilder) -> None:
    (passage,) = split_document(Document("d", "Title", "\u200b\u200b"), 1, inputs)
    assert passage.body_ids == []


def test_no_room_beside_the_title_is_a_bad_setting(inputs: InputBuilder) -> None:
    builder = InputBuilder(inputs.tokenizer, InputLimits(passage=16, title=16))
    with pytest.raises(BadSettings, match="beside a title"):
        split_document(Document("d", "a very long title of many words indeed", "x"), 1, builder)


@pytest.mark.timeout(60)
def test_megabytes_without_a_stop_take_linear_time(inputs: InputBuilder) -> None:
    text = "word " * 200_000
    passages = split_document(Document("d", "", text), 1, inputs)
    assert sum(len(passage.body_ids) for passage in passages) == 200_000


def test_the_content_hash_knows_title_from_text() -> None:
    pairs = list(itertools.product(["", "a", "ab", "1:", "1:a"], repeat=2))
    assert len({content_hash(*pair) for pair in pairs}) == len(pairs)


def some_passages(inputs: InputBuilder, ids: Iterable[str]) -> list[Passage]:
    return [
        passage
        for name in ids
        for passage in split_document(Document(name, "Título", ENGLISH * 40 + "終。"), 3, inputs)
    ]


def test_a_table_is_sorted_and_gives_the_passages_back(inputs: InputBuilder) -> None:
    passages = some_passages(inputs, ["b", "a", "a/1"])
    table = to_table(reversed(passages))
    assert table.schema == PASSAGE_SCHEMA
    expected = sorted(passages, key=lambda passage: (passage.document_id, passage.ordinal))
    assert from_table(table) == expected
    with_more = table.append_column("extra", pa.nulls(len(table)))
    assert from_table(with_more) == expected


def test_a_table_of_something_else_is_corrupt(inputs: InputBuilder) -> None:
    table = to_table(some_passages(inputs, ["a"]))
    with pytest.raises(Corrupt):
        from_table(table.drop_columns(["body_ids"]))
    text = pa.array(["not a number"] * len(table))
    with pytest.raises(Corrupt):
        from_table(table.drop_columns(["start"]).append_column("start", text))


def test_passages_of_before_there_was_bm25_are_still_read(inputs: InputBuilder) -> None:
    table = to_table(split_document(Document("a", "Title", "Some text."), 1, inputs))
    (found,) = from_table(table.drop_columns(["terms", "term_counts"]))
    assert (found.text, found.terms, found.term_counts) == ("Some text.", [], [])
