"""HTML as browsers read it: optional tags, raw text, what is hidden, tables, encodings."""

from __future__ import annotations

import pytest

from realm.corpus.formats.html import read_html, read_html_file


def test_html_shows_what_a_browser_would() -> None:
    plain = read_html(
        "<html><head><title> A\n title</title><style>p{}</style></head><body><h1>Head <b>ing</b>"
        "</h1><script>x='<p>'</script><p>Some <b>bold</b> text &amp;\n more.</p><pre>a\n  b</pre>"
        "<ul><li>one<li>two</ul><template>no</template></body></html>"
    )
    assert plain.title == "A title"
    assert plain.text == (
        "# Head ing\n\nSome bold text & more.\n\n```\na\n  b\n```\n\n- one\n- two"
    )


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<h1>First</h1><h1>Second</h1>", "First"),
        ("<h2>Sub</h2><h1>Main</h1>", "Main"),
        ("<h1></h1><h3>Third</h3>", "Third"),
        ("<title> </title><h1>Head</h1>", "Head"),
        ("<svg><title>Icon</title></svg><h1>Head</h1>", "Head"),
        ("<p>text", None),
    ],
)
def test_without_a_title_a_page_has_its_first_heading(page: str, title: str | None) -> None:
    assert read_html(page).title == title


@pytest.mark.parametrize(
    ("page", "title", "text"),
    [
        # As page savers write them: html, head and body end where the next begins.
        (
            "<!doctype html><html lang=en><head><meta charset=utf-8><title>Refunds</title>"
            "<main><h1>Refunds</h1><p>Refunds take 14 days.</main>",
            "Refunds",
            "# Refunds\n\nRefunds take 14 days.",
        ),
        (
            '<head><title>Shipping</title><script>var open = "<!--", x = 1;</script></head>'
            "<body><p>Parcels leave on Tuesdays.</p>",
            "Shipping",
            "Parcels leave on Tuesdays.",
        ),
        ("<title>a<b>c</title>x", "a<b>c", "x"),
        ("<p>One<p>Two<dl><dt>Three<dd>Four</dl>", None, "One\n\nTwo\n\nThree\nFour"),
    ],
)
def test_tags_may_be_left_out(page: str, title: str | None, text: str) -> None:
    plain = read_html(page)
    assert (plain.title, plain.text) == (title, text)


@pytest.mark.parametrize(
    "page",
    [
        "<script>no</script>",
        "<style>no</style>",
        "<template>no</template>",
        "<noscript>no</noscript>",
        "<svg><text>no</text></svg>",
        "<iframe>no</iframe>",
        "<p hidden>no</p>",
        "<div style='color: red; DISPLAY : none'>no<p>no</div>",
        "<dialog>no</dialog>",
        "<datalist><option>no</datalist>",
        "<!-- no --><!--> <!-- no > --!>",
        "<!-- <p>no --> ",
        "<?php no ?>",
        "<script><!-- <script>no</script> --></script>",
        "<math><annotation>no</annotation></math>",
    ],
)
def test_what_no_browser_shows_is_left_out(page: str) -> None:
    assert read_html(f"<p>a</p>{page}<p>b</p>").text == "a\n\nb"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>if a < b <!-- <p>no --> and c<d</p>", "if a < b and c<d"),
        ("a &lt;b&gt; &copy &#x41;&#65; &notin; &unknown;", "a <b> © AA ∉ &unknown;"),
        ("30&nbsp;days", "30 days"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<b>a</b><i>b</i> <u>c</u>", "ab c"),
        ("x<plaintext>y <b>z\n w", "x\n\n```\ny <b>z\n w\n```"),
        ("<textarea>\n a  <b>c</textarea>", "a  <b>c"),
        ("<pre>\na\n\n  b <b>c</b>\n</pre>d", "```\na\n\n  b c\n```\n\nd"),
        ("<pre><code>x = 1\n\n\n\ty</code></pre>", "```\nx = 1\n\n\n\ty\n```"),
        ("<details><summary>Why</summary>Because</details>", "Why\nBecause"),
        ("<p hidden=until-found>found</p>", "found"),
        ("see <img alt='a map' src=x> here", "see a map here"),
        ("<p>a</div></span>b", "ab"),
        ("<![CDATA[x]]>y", "y"),
        ("<p title='a > b'>c", "c"),
        ("<select><option>a<option>b</select>", "a\nb"),
    ],
)
def test_text_stays(page: str, text: str) -> None:
    assert read_html(page).text.strip() == text


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("<tr><th>Name<th>Age<tr><td>Ann<td>30", "| Name: Ann | Age: 30 |"),
        ("<tr><td><p>Ann</p></td>\n <td><div>30</div></td></tr>", "| Ann | 30 |"),
        ("<tr><td>a<td><td>c", "| a |  | c |"),
        (
            "<tr><th>Name<th colspan=2>Age<th>Of<tr><td>Ann<td>3<td>0<td>",
            "| Name: Ann | Age: 3 | Age: 0 |",
        ),
        ("<tr><th>Name<td>Ann<tr><th>Age<td>30", "| Name | Ann |\n| Age | 30 |"),
        ("<tr><th>Name<th>Age", "| Name | Age |"),
        ("<tr><th>Name<tr><td>Ann", "Name: Ann"),
        ("<caption>Ages</caption><tr><td>a<td>b</table>after", "Ages\n| a | b |\n\nafter"),
        # A cell of several lines is a page's layout.
        ("<tr><td><p>a</p><p>b</p><td>c", "a\n\nb\nc"),
        ("<tr><td>a<td><table><tr><td>x<td>y</table><td>z", "a\n| x | y |\nz"),
    ],
)
def test_a_row_of_a_table_is_a_line(table: str, text: str) -> None:
    assert read_html(f"<table>{table}").text == text


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("<meta charset=windows-1251>", "cp1251"),
        ("<META CHARSET='Windows-1251' />", "cp1251"),
        ("<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
        ('<?xml version="1.0" encoding="iso-8859-5"?>', "iso-8859-5"),
        ("<script>'<meta charset=koi8-r>'</script><meta charset=windows-1251>", "cp1251"),
        ("<!-- <meta charset=koi8-r> -->", "utf-8"),
        ("<meta charset=utf-16>", "utf-8"),
        ("<meta charset=nonsense>", "utf-8"),
        ("<meta charset=koi8-r>", "utf-8-sig"),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_declares(head: str, encoding: str) -> None:
    page = f"{head}<p>Привет".encode(encoding)
    assert read_html_file(page).text == "Привет"


def test_latin_1_is_what_browsers_take_it_for() -> None:
    assert read_html_file(b"<meta charset=iso-8859-1>30 \x80").text == "30 €"
