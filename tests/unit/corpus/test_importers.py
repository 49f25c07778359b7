"""Importers read what is sound, report the rest by file and line, and never stop at one fault."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realm.corpus.documents import Document, is_visible, normalise_id
from realm.corpus.importers import SOURCE, Problem, describe_skipped, read_documents
from realm.corpus.plain_text import READERS, PlainText
from realm.errors import InvalidInput

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
IDS = (
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40)
    .map(normalise_id)
    .filter(is_visible)
)
WORDS = st.text(CHARACTERS, min_size=1).filter(is_visible)
DOCUMENTS = st.builds(
    Document,
    id=IDS,
    title=st.text(CHARACTERS),
    text=WORDS,
    metadata=st.dictionaries(st.text(CHARACTERS), st.text(CHARACTERS), max_size=2),
)


def read(*paths: Path, max_bytes: int = 1_000) -> list[Document | Problem]:
    return list(read_documents(paths, max_bytes=max_bytes))


def problems(*paths: Path, max_bytes: int = 1_000) -> list[Problem]:
    return [one for one in read(*paths, max_bytes=max_bytes) if isinstance(one, Problem)]


def as_line(document: Document, *, ascii_only: bool = False) -> str:
    row = {"id": document.id, "title": document.title, "text": document.text}
    return json.dumps(row | {"metadata": document.metadata}, ensure_ascii=ascii_only)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(DOCUMENTS, unique_by=lambda document: document.id), st.booleans())
def test_json_lines_come_back_as_written(
    tmp_path: Path, documents: list[Document], ascii_only: bool
) -> None:
    path = tmp_path / "documents.jsonl"
    lines = [as_line(document, ascii_only=ascii_only) + "\n" for document in documents]
    path.write_bytes("".join(lines).encode())
    assert read(path, max_bytes=100_000) == documents


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "x", "title": "t"', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["id"]', "not a JSON object"),
        ('{"id": "x", "title": "t"}', "text missing"),
        ('{"title": "t"}', "id and text missing"),
        ('{"id": "x", "title": "t", "text": " "}', "has no text"),
        ('{"id": "", "title": "t", "text": "w"}', "id is empty"),
        ('{"id": 3.5, "title": "t", "text": "w"}', "must be text, not float"),
        ('{"id": true, "text": "w"}', "must be text, not bool"),
        ('{"id": null, "text": "w"}', "must be text, not NoneType"),
        ('{"id": "x", "_id": "y", "text": "w"}', "unknown field '_id'"),
        ('{"id": "x", "title": 3, "text": "w"}', "title of document 'x' must be text"),
        ('{"id": "x", "title": "t", "text": "w", "url": "u"}', "unknown field 'url'"),
        ('{"id": "x", "title": "t", "text": "w", "metadata": ["n"]}', "metadata"),
        ('{"id": "x", "title": "t", "text": "\\u200b\\ufeff\\u00ad"}', "has no text"),
        ('{"id": "x", "title": "t", "text": "\\ud800"}', "surrogate"),
        ('{"id": "x", "title": "t", "text": "' + "w" * 1_001 + '"}', "1001 bytes.*limit is 1000"),
        (b'{"id": "x", "title": "t", "text": "\xff"}', "not UTF-8"),
        ("w" * 3_000_000, "split the document"),
    ],
)
def test_a_bad_line_is_reported_and_the_rest_goes_on(
    tmp_path: Path, line: str | bytes, message: str
) -> None:
    path = tmp_path / "d.jsonl"
    good = [as_line(Document(name, "t", "words")) for name in ("a", "b")]
    bad = line.encode() if isinstance(line, str) else line
    path.write_bytes(b"\n".join([good[0].encode(), b"", bad, good[1].encode()]))
    first, problem, last = read(path)
    assert [first, last] == [Document("a", "t", "words"), Document("b", "t", "words")]
    assert isinstance(problem, Problem)
    assert (problem.path, problem.line) == (path, 3)
    assert str(problem).startswith(f"{path}:3: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problem.message)


def test_a_second_use_of_an_id_names_both_places(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    line = as_line(Document("same", "t", "words")) + "\n"
    one.write_text(line + line, encoding="utf-8")
    two.write_text("\n" + line, encoding="utf-8")
    first, second = problems(one, two)
    assert (first.path, first.line) == (one, 2)
    assert f"line 1 of {one}" in first.message
    assert (second.path, second.line) == (two, 2)
    assert f"line 1 of {one}" in second.message


def test_a_folder_is_read_in_order_of_name_with_paths_as_ids(tmp_path: Path) -> None:
    files = {
        "b.md": "# The Title\n\nSome *text*.",
        "a/z.txt": "Plain words.",
        "a/y.rst": "Heading\n=======\n\nUse ``x``.",
        "c.html": "<title>Page</title><p>Hello <b>you</b><script>no()</script>",
        ".hidden.md": "no",
        ".git/x.md": "no",
        "picture.png": "no",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert read(tmp_path) == [
        Document(name, title, text, {SOURCE: str(tmp_path / name)})
        for name, title, text in [
            ("b.md", "The Title", "# The Title\n\nSome text."),
            ("c.html", "Page", "Hello you"),
            ("a/y.rst", "Heading", "# Heading\n\nUse x."),
            ("a/z.txt", "z", "Plain words."),
        ]
    ]


def test_files_of_other_kinds_are_counted(tmp_path: Path) -> None:
    names = ["a.md", "b.odt", "c.ODT", "d.pptx", "sub/README", "more.jsonl", ".hidden.odt"]
    for name in [*names, ".git/x.odt"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    reading = read_documents([tmp_path], max_bytes=1_000)
    assert [one.id for one in reading if isinstance(one, Document)] == ["a.md"]
    assert describe_skipped(reading.skipped) == (
        "6 files not read: 2 .odt, 1 .jsonl, 1 .pptx, 1 link to a folder, 1 without a suffix"
    )


def test_a_kind_is_one_entry_and_what_its_parser_cannot_read_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_numbers(data: bytes) -> PlainText:
        return PlainText("Numbers", " ".join(str(int(part)) for part in data.split()))

    monkeypatch.setitem(READERS, ".num", of_numbers)
    (tmp_path / "a.num").write_text("x", encoding="utf-8")
    (tmp_path / "b.num").write_text("1\n2", encoding="utf-8")
    bad, good = read(tmp_path)
    assert isinstance(bad, Problem)
    assert "its parser fails: ValueError" in bad.message
    assert good == Document("b.num", "Numbers", "1 2", {SOURCE: str(tmp_path / "b.num")})


def test_a_prefix_keeps_folders_apart(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("words", encoding="utf-8")
    lines = tmp_path / "d.jsonl"
    lines.write_text(as_line(Document("own", "t", "words")), encoding="utf-8")
    for prefix in ("x", "x/"):
        found = read_documents([tmp_path, tmp_path / "a.md", lines], max_bytes=99, prefix=prefix)
        ids = [one.id for one in found if isinstance(one, Document)]
        assert ids == ["x/a.md", "own"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_id_has_one_form(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    name = unicodedata.normalize(form, "Füße.txt")
    (tmp_path / name).write_text("words", encoding="utf-8")
    (tmp_path / "d.jsonl").write_text(as_line(Document(name + "2", "t", "w")), encoding="utf-8")
    (found,) = read(tmp_path)
    assert isinstance(found, Document)
    assert (found.id, found.title) == ("F\u00fc\u00dfe.txt", "F\u00fc\u00dfe")
    assert read(tmp_path / "d.jsonl") == [Document("F\u00fc\u00dfe.txt2", "t", "w")]


@pytest.mark.parametrize(
    ("row", "document"),
    [
        ({"_id": "x", "title": "", "text": "w"}, Document("x", "", "w")),
        ({"_id": {"$oid": "5f"}, "text": "w"}, Document("5f", "", "w")),
        ({"id": 7, "title": None, "text": "w"}, Document("7", "", "w")),
        (
            {"id": "x", "text": "w", "metadata": {"n": 1, "b": True, "l": ["é"], "no": None}},
            Document("x", "", "w", {"n": "1", "b": "true", "l": '["é"]'}),
        ),
        ({"id": "x", "text": "w", "metadata": None}, Document("x", "", "w")),
    ],
)
def test_names_and_types_of_common_exports_are_taken(
    tmp_path: Path, row: dict[str, object], document: Document
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    assert read(path) == [document]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(DOCUMENTS, max_size=4, unique_by=lambda document: document.id),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", " ", "\t"]),
)
def test_encodings_and_line_ends_of_json_lines_mean_nothing(
    tmp_path: Path, documents: list[Document], encoding: str, end: str, blank: str
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes("".join(as_line(one) + blank + end for one in documents).encode(encoding))
    assert read(path, max_bytes=100_000) == documents


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.text(CHARACTERS, max_size=60),
    st.sampled_from([".md", ".rst", ".txt", ".html"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 80),
)
def test_a_file_is_a_document_alike_in_every_encoding_or_a_problem(
    tmp_path: Path, text: str, suffix: str, encoding: str, end: str, limit: int
) -> None:
    text = re.sub("[\r\ufeff]", "", text)
    plain, other = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    plain.write_bytes(text.encode())
    other.write_bytes(text.replace("\n", end).encode(encoding))
    first, second = read(plain, max_bytes=limit)[0], read(other, max_bytes=limit)[0]
    if isinstance(first, Document) and isinstance(second, Document):
        assert first.text == second.text
        assert is_visible(first.text)
        assert len(first.text.encode()) <= limit
    else:
        assert isinstance(first, Problem)
        assert isinstance(second, Problem)
        assert first.message.replace("a" + suffix, "b" + suffix) == second.message


def test_bytes_that_are_no_text_end_a_utf_16_file_with_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    good = as_line(Document("a", "t", "words")) + "\n"
    path.write_bytes(good.encode("utf-16") + b"\x00\xd8\x00")
    assert [type(one) for one in read(path)] == [Document, Problem]


def test_links_to_folders_do_not_loop(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("words", encoding="utf-8")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert [one.id for one in read(tmp_path) if isinstance(one, Document)] == ["sub/a.txt"]


def test_bad_files_are_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_text(" \n", encoding="utf-8")
    (tmp_path / "c.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.txt").write_text("w" * 2_000, encoding="utf-8")
    os.mkfifo(tmp_path / "e.txt")
    (tmp_path / "f.txt").write_text("words", encoding="utf-8")
    *bad, good = read(tmp_path)
    assert good == Document("f.txt", "f", "words", {SOURCE: str(tmp_path / "f.txt")})
    found = [(one.path.name, one.line) for one in bad if isinstance(one, Problem)]
    assert found == [(f"{name}.txt", None) for name in "abcde"]


def test_a_folder_without_documents_is_reported(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path)
    assert "the folder has no .docx, .htm, .html" in problem.message


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.jsonl", "does not exist"), ("missing", "does not exist"), ("a.odt", "unknown kind")],
)
def test_a_path_that_cannot_be_read_is_refused_at_once(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "a.odt").touch()
    with pytest.raises(InvalidInput, match=message):
        read_documents([tmp_path / name], max_bytes=10)


def test_reading_streams(tmp_path: Path) -> None:
    """The first document is out before the second line is complete."""
    path = tmp_path / "d.jsonl"
    path.write_text(as_line(Document("a", "t", "words")) + "\n", encoding="utf-8")
    documents = read_documents([path], max_bytes=1_000)
    assert next(documents) == Document("a", "t", "words")
    with path.open("a", encoding="utf-8") as file:
        file.write(as_line(Document("b", "t", "words")) + "\n")
    assert next(documents) == Document("b", "t", "words")


@pytest.mark.parametrize("folder", ["squad_open", "wikitext", "xquad_zh", "xquad_ar"])
def test_real_documents_import_and_a_repeated_id_is_the_only_problem(
    folder: str, shared_rows: Callable[[str], list[dict[str, str]]], shared: Path
) -> None:
    first: dict[str, Document] = {}
    for row in shared_rows(folder):
        first.setdefault(row["id"], Document(row["id"], row["title"], row["text"]))
    read_back = read(shared / folder / "documents.jsonl", max_bytes=1 << 20)
    assert [one for one in read_back if isinstance(one, Document)] == list(first.values())
    refused = [one for one in read_back if isinstance(one, Problem)]
    assert len(refused) == len(shared_rows(folder)) - len(first)
    assert all("was given before" in problem.message for problem in refused)
