"""Terms in every script: what counts as a word, and what is alike."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.text.terms import (
    CHARACTERS_KNOWN,
    PAIR_INDEXES,
    PAIR_WEIGHT,
    _folded_character,
    count_terms,
    pair_hash,
    pairs,
    question_terms,
    term_hash,
    terms,
)

TEXTS = st.text(max_size=80)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Marie Curie's 2 Nobel Prizes!", ["marie", "curie", "s", "2", "nobel", "prizes"]),
        ("snake_case, e-mail", ["snake", "case", "e", "mail", "snakecase", "email"]),
        ("IndexStale", ["indexstale", "index", "stale"]),
        ("HTTPServer.do_GET", ["httpserver", "do", "get", "httpserverdoget", "http", "server"]),
        ("用IndexStale吗", ["用", "indexstale", "吗", "index", "stale"]),
        ("os.path e.g. 3.14 1999-12", ["os", "path", "e", "g", "3", "14", "1999", "12", "ospath"]),
        (
            "iPhones of a PhD on TVs: 2-3 a.m",
            ["iphones", "of", "a", "phd", "on", "tvs", "2", "3", "a", "m"],
        ),
        ("Beyoncé", ["beyonce"]),
        ("ＦＵＬＬ ｗｉｄｔｈ ﬁne", ["full", "width", "fine"]),
        ("Straße", ["strasse"]),
        ("İstanbul", ["istanbul"]),
        ("soft\u00adhyphen", ["softhyphen"]),
        ("居里夫人", ["居里", "里夫", "夫人"]),
        ("水。", ["水"]),
        ("2019年5月", ["2019", "年", "5", "月"]),
        ("がくせい", ["がく", "くせ", "せい"]),
        ("서울특별시는", ["서울특별시는"]),
        ("مُحَمَّد كـــتاب", ["محمد", "كتاب"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("ดีมาก", ["ดี", "ีม", "มา", "าก"]),
        ("\u200b … ?!", []),
        ("", []),
    ],
)
def test_words_are_found_and_folded(text: str, expected: list[str]) -> None:
    assert list(terms(text)) == [unicodedata.normalize("NFC", each) for each in expected]


@given(st.lists(st.from_regex("[a-z]{2,9}", fullmatch=True), min_size=2, max_size=5))
def test_an_identifier_is_found_however_it_is_written(parts: list[str]) -> None:
    whole = "".join(parts)
    for written in ("_".join(parts), "-".join(parts), ".".join(parts), whole.title()):
        assert whole in terms(written)
    camel = "".join(map(str.title, parts))
    assert sorted(terms(camel)) == sorted(terms("_".join(parts))) == sorted([*parts, whole])


@given(TEXTS)
def test_case_width_and_composition_make_no_difference(text: str) -> None:
    # Capitals of a few letters are two (ß), or another's (ı): only what comes back is alike.
    if text.upper().lower() == text.lower():
        # Capitals inside a word may part it; they take nothing away.
        assert not Counter(terms(text.lower())) - Counter(terms(text))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert list(terms(unicodedata.normalize(form, text))) == list(terms(text))


@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_the_quick_way_for_ascii_is_the_general_way(text: str) -> None:
    assert Counter([*terms(text), "e"]) == Counter(terms(text + " é"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["aB", "a.", "a-", "A", "Ab-", "HTTPa", "a_é", "é_"])
def test_time_is_linear_in_a_text_that_never_ends_its_identifier(unit: str) -> None:
    for text in (unit * 200_000, unit * 200_000 + "é"):
        assert count_terms(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Time, gentlemen: time!", [("time", "gentlemen"), ("gentlemen", "time")]),
        ("Straße 5 in 東京 heute früh", [("strasse", "5"), ("5", "in"), ("heute", "fruh")]),
        ("居里夫人", []),
        ("alone", []),
    ],
)
def test_neighbouring_words_are_pairs(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(pairs(text)) == expected


def test_a_question_counts_a_pair_for_less_than_its_words() -> None:
    words = {term_hash("red"): 2.0, term_hash("fox"): 1.0}
    both = {pair_hash("red", "red"): PAIR_WEIGHT, pair_hash("red", "fox"): PAIR_WEIGHT}
    assert question_terms("Red red fox?") == words | both
    assert question_terms("…") == {}


@given(TEXTS)
def test_a_question_asks_for_the_terms_of_its_text(text: str) -> None:
    assert question_terms(text).keys() == count_terms(text).keys()
    assert all(pair_hash(*each) < PAIR_INDEXES for each in pairs(text))


@given(TEXTS, TEXTS)
def test_texts_are_counted_together(left: str, right: str) -> None:
    assert count_terms(left, right) == count_terms(left) + count_terms(right)
    assert count_terms(left).total() == len([*terms(left), *pairs(left)])


def test_an_index_is_the_same_for_ever_and_fits_32_bits() -> None:
    assert term_hash("123456789") == 0xCBF43926  # CRC-32 as published
    assert all(0 <= each < 1 << 32 for each in count_terms("a wörd 居里夫人"))


def test_what_is_remembered_of_characters_is_bounded() -> None:
    for first in range(0x10000, 0x10000 + 2 * CHARACTERS_KNOWN, 1000):
        count_terms("".join(map(chr, range(first, first + 1000))))
    assert _folded_character.cache_info().currsize <= CHARACTERS_KNOWN
