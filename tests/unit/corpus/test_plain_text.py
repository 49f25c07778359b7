"""Files of each kind turn into what a reader reads, and hard-wrapped text into paragraphs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.formats import readers
from realm.corpus.formats.html import read_html
from realm.corpus.formats.markdown import read_markdown
from realm.corpus.formats.rest import read_rest
from realm.corpus.plain_text import PlainText, read_text, unwrap
from realm.corpus.python_docs import read_docstring
from realm.errors import InvalidInput

WRAPPED = "The quick brown fox jumps over the lazy dog and\ngoes home."
LIGHT = [read_text, read_docstring]
#: Kinds of files that are text themselves, whatever their encoding.
TEXTS = sorted({*readers()} - {".pdf", ".docx"})
READ = [read_markdown, read_rest, read_html, *LIGHT]

Read = Callable[[str], PlainText]


def test_a_wrapped_paragraph_becomes_one_line() -> None:
    assert unwrap(WRAPPED) == WRAPPED.replace("\n", " ")


@pytest.mark.parametrize(
    "text",
    [
        "one\ntwo\nthree",
        "- a list item that is long enough to be taken for text\n- another",
        "value = some_function_of(many, arguments, that, are, long)\nother = 1",
        "A line that is long enough to have been wrapped by hand\n\nA paragraph",
        "A line that is long enough to have been wrapped by hand\n    code()",
    ],
)
def test_lists_code_and_paragraphs_keep_their_lines(text: str) -> None:
    assert unwrap(text) == text


@given(st.text())
def test_unwrapping_changes_white_space_alone(text: str) -> None:
    assert "".join(unwrap(text).split()) == "".join(text.split())


def test_a_docstring() -> None:
    plain = read_docstring(
        "=====\nTitle\n=====\n\n.. comment\n.. _target:\n\nUse :class:`~a.B`, "
        ":meth:`run <a.B.run>` or ``lit``; see `docs <http://x>`_::\n\n"
        "    code = 1\n\n.. note:: be careful\n\n"
        ".. code-block:: python\n   :linenos:\n\n   y = 2\n"
    )
    assert plain.title == "Title"
    assert plain.text == (
        "Title\n\nUse a.B, run or lit; see docs:\n\n    code = 1\n\nbe careful\n\n   y = 2"
    )


def test_plain_text_has_no_title() -> None:
    assert read_text("Words.").title is None


@pytest.mark.parametrize("read", READ)
@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab *_`[]()<>/!-=#~\n.:&;\\|+'\"\t1")))
def test_no_markup_is_refused(read: Read, text: str) -> None:
    assert isinstance(read(text).text, str)


@pytest.mark.parametrize("kind", TEXTS)
@settings(deadline=None)
@given(text=st.text(st.sampled_from("ab *`<>-=\n\r.:|")))
def test_line_ends_and_byte_order_marks_mean_nothing(kind: str, text: str) -> None:
    read = readers()[kind]
    text = text.replace("\r", "")
    expected = read(text.encode())
    for end in ("\r\n", "\r"):
        assert read(text.replace("\n", end).encode("utf-8-sig")) == expected


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(kind: str, encoding: str) -> None:
    assert readers()[kind]("Füße für 30 €".encode(encoding)).text == "Füße für 30 €"


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_in_no_known_encoding_is_named_and_never_guessed(kind: str) -> None:
    with pytest.raises(InvalidInput, match="not UTF-8 at byte 3"):
        readers()[kind](b"caf\xe9")


HTML = [
    *("<a", "<a b='", "<a b='>", "<!--", "<!x", "<h1>x", "<div>x", "<table><tr><td>", "<b><i><p>"),
    *("<ul><li>x", "</p>", "<svg>", "&amp", "<script>", "<![CDATA[", "<template>", "<select>"),
    *("<math>", "<p>a</b>", "<font><p>", "<textarea>", "<a href=x><div>", "<form>", "<br>"),
]
MARKDOWN = [
    *("[", "*a", "`", "<a", "_", "- ", "![", "<a b='", "<a b='>", "<!--", "<!x", "> ", ">a\n"),
    *("* a\n", "1. a\n\n", "[a](", "[a]: b\n", "![a][", "~~", "``a", "```\n", "|a", "a\n", "---\n"),
    *("a|b\n-|-\n", "<div>\n\n", "<a\n", "\\", "**a _b ", "a\n=\n\n", "    a\n", "<img>", "+++\n"),
]
REST = [
    *("*a", "*a\n", "`a\n", "|a\n", "`", "_", "- ", ":a:`", "a_ ", "[1]_ ", "`a <b", "http://a "),
    *(".. a:: b\n\n", ".. [#] a\n", ":a: b\n", "+-", "| a\n", ">>> a\n", "a::\n\n b\n\n", "- a\n"),
    *(".. |a| replace:: |a|\n", "--- --- ", "a\n b\n", "a\n=\n\n", "a\n", "..\n"),
]


# Parsers that take the square of it, or fall, need minutes for so much or have no answer.
@pytest.mark.parametrize(
    ("read", "size", "bit"),
    [
        *((read_html, 50_000, bit) for bit in HTML),
        *((read_markdown, 30_000, bit) for bit in MARKDOWN),
        *((read_rest, 20_000, bit) for bit in REST),
        *((read, 20_000, bit) for bit in [*HTML, *MARKDOWN, *REST] for read in LIGHT),
    ],
)
@pytest.mark.timeout(60)
def test_hostile_markup_takes_linear_time(read: Read, size: int, bit: str) -> None:
    assert isinstance(read(bit * (size // len(bit))).text, str)


@pytest.mark.parametrize(
    ("read", "opening"),
    [(read_html, "<div>"), (read_html, "<b><p>"), (read_markdown, "> "), (read_rest, "- ")],
)
def test_nothing_is_lost_however_deep_it_lies(read: Read, opening: str) -> None:
    assert read(opening * 10_000 + "needle").text.endswith("needle")


def test_a_page_of_megabytes_is_read_in_seconds() -> None:
    """Headings that are never closed: once the time of minutes for the first of them."""
    assert read_html("<h1>x" * 100_000).title == "x"
