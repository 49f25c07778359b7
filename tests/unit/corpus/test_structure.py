"""What a text's marks say: headings, code, rows; and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.structure import LONGEST_HEADING, code, heading, row, sections

LINES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
NAMES = LINES.map(lambda line: line.strip()[:LONGEST_HEADING]).filter(bool)


def found(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(each.headings, text[each.start : each.end].strip()) for each in sections(text)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Words.\n\nMore.",
        "#hash\n\nx",
        "#!/bin/sh\n# comment\necho\n\n# comment\necho",
        "a\n# b\n\nc",
        "\n\n####### seven\n\nx",
        f"# {'long ' * 50}\n\nx",
        "```\nnever ends\n\n",
        "|a|b|\n|-|-|",
        "either | or",
    ],
)
def test_a_text_without_marks_is_one_section(text: str) -> None:
    assert [(s.headings, s.start, s.end, s.whole) for s in sections(text)] == [
        ((), 0, len(text), ())
    ]


def test_headings_in_code_are_code() -> None:
    text = "# A\n\n" + code("x\n\n# no\n\n```\n\n# no\n\n```\n| y |") + "\n\n# B\n\nb"
    (first, second) = sections(text)
    assert (first.headings, second.headings) == (("A",), ("B",))
    assert [text[start:end] for start, end in first.whole] == [text[5:-8]]


def test_a_heading_that_nothing_follows_is_text() -> None:
    assert found("# A\n\n## B\n\n## C\n\nc\n\n# D") == [
        (("A",), "## B"),
        (("A", "C"), "c"),
        ((), "# D"),
    ]


@given(st.lists(st.tuples(st.integers(1, 6), NAMES), min_size=1, max_size=8))
def test_what_is_written_is_read(headings: list[tuple[int, str]]) -> None:
    text = "\n\n".join(
        f"{heading(level, name)}\n\n.{at}" for at, (level, name) in enumerate(headings)
    )
    path: list[tuple[int, str]] = []
    for at, ((level, name), section) in enumerate(zip(headings, sections(text), strict=True)):
        path = [*((above, each) for above, each in path if above < level), (level, name)]
        assert section.headings == tuple(each for _, each in path)
        assert text[section.start : section.end].strip() == f".{at}"


@given(st.text(st.sampled_from("ab`~\n |#")), st.lists(NAMES, min_size=1))
def test_code_and_rows_are_found_whole(block: str, cells: list[str]) -> None:
    text = f"Before.\n\n{code(block)}\n\n{row(cells)}\n\nAfter."
    (section,) = sections(text)
    assert [text[start:end] for start, end in section.whole] == [code(block), row(cells)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["# a\n\n", "```\n", "| a |\n", "# ", "| ", "`", "\n\n# "])
def test_any_text_takes_linear_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    assert sum(section.end - section.start for section in sections(text)) > 0
