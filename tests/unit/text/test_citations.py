"""Which citations hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.citations import MARK, check_citations

TOWER = "The tower in Paris was built by Gustave Eiffel's company, from 1887 to 1889."
RIVER = "塞纳河流经巴黎。"
PASSAGES = [TOWER, RIVER, "Kea parrots live in the Alps of New Zealand."]


@pytest.mark.parametrize(
    ("sentence", "cited"),
    [
        ("Gustave Eiffel's company built the tower [1].", (1,)),
        ("It was finished in 1889. [1]", (1,)),
        ("The company of Gustave Eiffel built the tower in Paris [1][3].", (1,)),
        ("It was finished in 1890 [1].", ()),
        ("The tower was painted green by a hundred volunteers [1].", ()),
        ("Kea parrots live in New Zealand [3] [9] [0].", (3,)),
        ("塞纳河流经巴黎[2]。", (2,)),
        ("Yes [1].", ()),
        ("Gustave Eiffel's company built it.", ()),
    ],
)
def test_a_citation_holds_if_its_passage_has_the_words(
    sentence: str, cited: tuple[int, ...]
) -> None:
    found = check_citations(sentence, PASSAGES)
    assert found.cited == cited
    assert tuple(map(int, MARK.findall(found.text))) == cited
    assert MARK.sub("", found.text) == MARK.sub("", sentence)
    given = tuple(map(int, MARK.findall(sentence)))
    assert sorted((*found.cited, *found.dropped)) == sorted(given)


@given(st.text(alphabet="ab1 [].", max_size=40), st.lists(st.text(max_size=10), max_size=3))
def test_nothing_but_citations_is_taken_out(sentence: str, passages: list[str]) -> None:
    found = check_citations(sentence, passages)
    assert all(1 <= each <= len(passages) for each in found.cited)
    assert len(found.text) <= len(sentence)
    if not found.dropped:
        assert found.text == sentence


@given(st.text(alphabet="abc xyz", min_size=4, max_size=40))
def test_a_sentence_that_stands_in_a_passage_may_cite_it(text: str) -> None:
    longer = any(len(each) >= 4 for each in text.split())
    assert check_citations(f"{text} [1]", [text]).cited == ((1,) if longer else ())
