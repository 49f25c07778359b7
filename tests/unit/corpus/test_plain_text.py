"""Markup turns into what a reader reads; hard-wrapped paragraphs turn into one line each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.plain_text import from_html, from_markdown, from_rst, from_text, unwrap

WRAPPED = "The quick brown fox jumps over the lazy dog and\ngoes home."


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


def test_markdown() -> None:
    plain = from_markdown(
        "---\ntags: x\n---\n# The *big* title #\n\nSome **bold** [link](http://x/y) and `code_a`, "
        "<b>tags</b>.\n\n```python\n# no heading\nx = *y*\n```\n\nSecond\n------\n> quoted\n"
    )
    assert plain.title == "The big title"
    assert plain.text == (
        "The big title\n\nSome bold link and code_a, tags.\n\n# no heading\nx = *y*\n\n"
        "Second\n\nquoted"
    )


def test_restructured_text() -> None:
    plain = from_rst(
        "=====\nTitle\n=====\n\n.. comment\n.. _target:\n\nUse :class:`~a.B`, "
        ":meth:`run <a.B.run>` or ``lit``; see `docs <http://x>`_::\n\n"
        "    code = 1\n\n.. note:: be careful\n\n"
        ".. code-block:: python\n   :linenos:\n\n   y = 2\n"
    )
    assert plain.title == "Title"
    assert plain.text == (
        "Title\n\nUse a.B, run or lit; see docs:\n\n    code = 1\n\nbe careful\n\n   y = 2"
    )


def test_html_shows_what_a_browser_would() -> None:
    plain = from_html(
        "<html><head><title> A\n title</title><style>p{}</style></head><body><h1>Head <b>ing</b>"
        "</h1><script>x='<p>'</script><p>Some <b>bold</b> text &amp;\n more.</p><pre>a\n  b</pre>"
        "<ul><li>one<li>two</ul><template>no</template></body></html>"
    )
    assert plain.title == "A title"
    assert plain.text == "Head ing\nSome bold text & more.\na\n  b\none\ntwo"


def test_html_without_a_title_takes_its_first_heading() -> None:
    assert from_html("<h1>First</h1><h1>Second</h1>").title == "First"
    assert from_html("<p>text").title is None


def test_plain_text_has_no_title() -> None:
    assert from_text("Words.").title is None


@pytest.mark.parametrize("read", [from_markdown, from_rst, from_html, from_text])
@given(text=st.text(st.sampled_from("ab *_`[]()<>/!-=#~\n.:&;\\|")))
def test_no_markup_is_refused(read: object, text: str) -> None:
    assert callable(read)
    assert isinstance(read(text).text, str)


def test_a_stray_less_than_sign_is_text() -> None:
    assert from_html("<p>if a < b <!-- <p>no --> and c<d</p>").text == "if a < b and c<d"


@pytest.mark.parametrize("read", [from_markdown, from_rst, from_html, from_text])
@pytest.mark.parametrize(
    "bit", ["[", "*a", "`", "<a", "_", "- ", ":a:`", "![", "<a b='", "<a b='>", "<!--", "<!x"]
)
@pytest.mark.timeout(30)
def test_hostile_markup_takes_linear_time(read: object, bit: str) -> None:
    assert callable(read)
    assert isinstance(read(bit * 20_000).text, str)
