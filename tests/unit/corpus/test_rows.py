"""Question-answer pairs, by JSON Lines and CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realm.corpus.documents import Document, is_visible
from realm.corpus.importers import Problem, read_documents

CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(is_visible)
PAIRS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4, unique_by=lambda pair: pair[0])


def read(path: Path) -> list[Document | Problem]:
    return list(read_documents([path], max_bytes=10_000))


def write_table(path: Path, rows: list[list[str]], separator: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PAIRS, st.sampled_from(",;\t"))
def test_pairs_come_back_as_written_and_alike_from_both_kinds_of_file(
    tmp_path: Path, pairs: list[tuple[str, str]], separator: str
) -> None:
    rows = [["question", "answer"], *map(list, pairs)]
    by_table = read(write_table(tmp_path / "faq.csv", rows, separator))
    lines = tmp_path / "faq.jsonl"
    objects = [{"question": question, "answer": answer} for question, answer in pairs]
    lines.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    assert read(lines) == by_table
    found = [each for each in by_table if isinstance(each, Document)]
    assert [(each.text, each.answer) for each in found] == pairs
    assert len({each.id for each in found}) == len(pairs)


def test_a_table_gives_ids_titles_and_metadata(tmp_path: Path) -> None:
    rows = [
        ["id", "Question".lower(), "answer", "title", "language"],
        ["7", "Who pays?", "We do.", "Costs", "en"],
        ["8", "When?", "Now.", "", ""],
    ]
    assert read(write_table(tmp_path / "faq.csv", rows)) == [
        Document("7", "Costs", "Who pays?", {"language": "en"}, "We do."),
        Document("8", "", "When?", {}, "Now."),
    ]


def test_an_edited_answer_keeps_the_id_of_its_question(tmp_path: Path) -> None:
    file = tmp_path / "faq.jsonl"
    ids = []
    for answer in ("We do.", "You do."):
        file.write_text(json.dumps({"question": "Who pays?", "answer": answer}))
        (found,) = read(file)
        assert isinstance(found, Document)
        ids.append(found.id)
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (["Who pays?", ""], "answer missing"),
        (["", "We do."], "id and text missing"),
        (["Who?", "We.", "more"], "3 cells in a table of 2 columns"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_the_others_are_read(
    tmp_path: Path, row: list[str], why: str
) -> None:
    rows = [["question", "answer"], ["a?", "b\nc"], row, ["d?", "e"]]
    path = write_table(tmp_path / "faq.csv", rows)
    first, bad, last = read(path)
    assert isinstance(first, Document)
    assert first.answer == "b\nc"
    assert bad == Problem(path, 4, why)
    assert isinstance(last, Document)


def test_a_line_of_json_without_an_answer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text('{"question": "Who pays?"}')
    assert read(path) == [Problem(path, 1, "answer missing")]
