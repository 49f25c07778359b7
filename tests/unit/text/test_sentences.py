"""Sentences end where a reader would say so, in every script, and their spans obey laws."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.sentences import sentence_spans

# Dense in everything that the rules look at.
TRICKY = (
    st.text(st.sampled_from("aB1.!?… \n\"'”)]。！？؟۔।中한Éé\u00a0\u2028\u0301,;[(")) | st.text()
)


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@given(TRICKY)
def test_spans_are_disjoint_ordered_bare_and_cover_the_text(text: str) -> None:
    spans = sentence_spans(text)
    end_before = 0
    for start, end in spans:
        assert end_before <= start < end <= len(text)
        assert not text[end_before:start].strip()
        assert text[start:end] == text[start:end].strip()
        end_before = end
    assert not text[end_before:].strip()


@given(TRICKY, TRICKY)
def test_a_paragraph_break_separates_what_is_on_either_side(left: str, right: str) -> None:
    assert sentences(left + "\n\n" + right) == sentences(left) + sentences(right)


@pytest.mark.parametrize(
    "expected",
    [
        ["It rains.", "We stay in!", "Do you?"],
        ["He said “Stop.”", "Then he left."],
        ["(See the note.)", "It helps."],
        ["Dr. Smith met J. K. Rowling.", "They talked."],
        ["Python 3.11 is out.", "Use os.path.join for paths.", "It costs 2.50 today."],
        ["See e.g. Fig. 3 and pp. 4 of vol. 2.", "Good."],
        ["They moved to the U.S.", "The house was big."],
        ["The U.S. Army came."],
        ["“What?” he asked."],
        ["Yahoo! is a company."],
        ["She waited … and left.", "Well…", "No."],
        ["Born in 1990.", "Died in 2001.[12][3]", "Buried at home."],
        ["1. First the oven."],
        ["黑豹队的防守只丢了 3.5 分。", "「是吗？」", "他说！", "好"],
        ["是吗?", "是的"],
        ["今日は晴れです。", "明日は？"],
        ["ما هذا؟", "هذا كتاب.", "انتهى"],
        ["یہ کتاب ہے۔", "اچھا"],
        ["यह एक किताब है।", "वह घर है॥", "अच्छा"],
        ["Это ул. Ленина.", "Она длинная."],
        ["ይህ ነው።", "እሺ"],
    ],
)
def test_sentences_end_where_a_reader_would_end_them(expected: list[str]) -> None:
    spaced = " ".join(expected)
    assert sentences(spaced) == expected


def test_east_asian_sentences_need_no_white_space() -> None:
    assert sentences("天气很好。我们走吧！去哪？") == ["天气很好。", "我们走吧！", "去哪？"]


def test_a_newline_ends_a_sentence() -> None:
    assert sentences("Title\nFirst line\r\n\r\nlast") == ["Title", "First line", "last"]


@pytest.mark.parametrize("text", ["", " \n\t", "\u3000"])
def test_no_text_has_no_sentences(text: str) -> None:
    assert sentence_spans(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "." * 300_000 + "x",
        "x." + '"' * 300_000 + "y",
        ".[1" * 100_000,
        "1. a " * 60_000,
        "A.B. " * 60_000,
        ". x" * 100_000,
        "(" * 300_000,
    ],
    ids=["stops", "closers", "notes", "numbers", "acronyms", "continued", "openers"],
)
@pytest.mark.timeout(20)
def test_hostile_text_takes_linear_time(text: str) -> None:
    """Quadratic behaviour on these would take minutes; the timeout is far from any good run."""
    assert sum(end - start for start, end in sentence_spans(text)) <= len(text)


@pytest.mark.parametrize(("folder", "stop"), [("xquad_zh", "。"), ("xquad_ar", ".")])
def test_real_paragraphs_are_cut_at_their_stops(
    folder: str, stop: str, shared_rows: Callable[[str], list[dict[str, str]]]
) -> None:
    texts = [row["text"] for row in shared_rows(folder)]
    found = [sentence for text in texts for sentence in sentences(text)]
    assert len(found) > 2.5 * len(texts)
    ended = sum(
        sentence.rstrip('"”」)').endswith((stop, "？", "؟", "!", "！")) for sentence in found
    )
    assert ended / len(found) > 0.9
