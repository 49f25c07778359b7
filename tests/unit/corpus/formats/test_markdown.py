"""Markdown as CommonMark has it: code to the letter, markup gone, front matter set aside."""

from __future__ import annotations

import pytest

from realm.corpus.formats.markdown import read_markdown


def test_markdown() -> None:
    plain = read_markdown(
        "---\ntags: x\n---\n# The *big* title #\n\nSome **bold** [link](http://x/y) and `code_a`, "
        "<b>tags</b>.\n\n```python\n# no heading\nx = *y*\n```\n\nSecond\n------\n> quoted\n"
    )
    assert plain.title == "The big title"
    assert plain.text == (
        "# The big title\n\nSome bold link and code_a, tags.\n\n```\n# no heading\nx = *y*\n```\n\n"
        "## Second\n\nquoted"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Call `__enter__` before `__exit__`.", "Call __enter__ before __exit__."),
        ("A `Map<String, Integer>` or `<host-name>`", "A Map<String, Integer> or <host-name>"),
        ("`` a`b `` and ``` `` ```", "a`b and ``"),
        ("`a  *b* [c](d) &lt; \\*`", "a  *b* [c](d) &lt; \\*"),
        ("`unclosed *x*", "`unclosed x"),
        ("```\n~~~\n<b>\n```", "```\n~~~\n<b>\n```"),
        ("~~~~ py\n~~~\n```\n~~~~", "````\n~~~\n```\n````"),
        ("````\n```\nx\n```\n````", "````\n```\nx\n```\n````"),
        ("```\nnever\n\n  ends", "```\nnever\n\n  ends\n```"),
        ("    *indented*\n\n\n      code", "```\n*indented*\n\n\n  code\n```"),
        ("- a\n\n  ```\n  if x:\n\n      y()\n  ```", "- a\n\n```\nif x:\n\n    y()\n```"),
        ("> ```\n> # a\n> ```", "```\n# a\n```"),
    ],
)
def test_code_is_kept_to_the_letter(source: str, text: str) -> None:
    assert read_markdown(source).text == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("write to <ops@example.org>", "write to ops@example.org"),
        ("<https://a.b/c%20d?e=f&g>", "https://a.b/c%20d?e=f&g"),
        ("Keep this if a<b and c>d.", "Keep this if a<b and c>d."),
        ("List<String>, Map<Object>, <your name>", "List<String>, Map<Object>, <your name>"),
        ("press <kbd>Ctrl</kbd>, <span class='x'>y</span>", "press Ctrl, y"),
        ("<Tabs>a</Tabs> <a id='x'> b <!-- no --> c", "a b c"),
        ("a<br>b  \nc\\\nd", "a\nb\nc\nd"),
        ("a <img src=x alt='map'> b", "a map b"),
        ("[a](b 'c') ![alt *x*](y) [![badge](z)](w)", "a alt x badge"),
        ("[a][r], [r], [no]\n\n[r]: http://x 'T'", "a, r, [no]"),
        ("[a](javascript:x) [b](file:///c/d)", "a b"),
        ("\\*x\\* &copy; &lt;b&gt; 1 \\< 2", "*x* © <b> 1 < 2"),
        ("~~old~~ new_word_here 2*3*4", "old new_word_here 234"),
        ("One\ntwo\n\nthree", "One two\n\nthree"),
        ("- a\n- b\n  1. c\n  2. d\n- e", "- a\n- b\n  1. c\n  2. d\n- e"),
        ("3) a\n4) b", "3. a\n4. b"),
        ("-\n- b", "- \n- b"),
        ("- [ ] todo\n- [x] done", "- [ ] todo\n- [x] done"),
        ("> a\n> > b\nlazy", "a\n\nb lazy"),
        ("***\na\n___", "a"),
        ("| a | b |\n|---|:-:|\n| *c* | `d\\|e` |\n\nx", "| a: c | b: d|e |\n\nx"),
        ("<div>\n\n*a*\n\n</div>", "a"),
        ("<table>\n\n<tr><td>a</td><td>b</td></tr>\n\n</table>", "| a | b |"),
        ("<script>\nno\n</script>\n\nyes", "yes"),
        ("<!-- no\n\nno -->\n\nyes", "yes"),
        ("<title> is a tag\n\nkept", "kept"),
        ("<div b='\n\nkept\n\n' c>", "kept\n\n' c>"),
        ("<table>\n<tr><td>\n\n**a**\n\n</td><td>b</td></tr>\n</table>", "| a | b |"),
    ],
)
def test_a_reader_reads(source: str, text: str) -> None:
    assert read_markdown(source).text == text


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("Setext\n===\n\n# Other", "Setext"),
        ("text\n\n### Third", "Third"),
        ("# ![Logo](x)\n\n# B", "Logo"),
        ("#\n\n# B", "B"),
        ("<h1 align=center>Name</h1>\n\n# Usage", "Name"),
        ("```\n# no\n```", None),
        ("#no", None),
    ],
)
def test_the_first_heading_is_the_title(source: str, title: str | None) -> None:
    assert read_markdown(source).title == title


FRONT = "---\ntitle: Vacation policy\ntags: [hr, leave]\n---\n\n# Overview\n\nThirty days.\n"


@pytest.mark.parametrize(
    "source",
    [
        FRONT,
        FRONT.replace("---", "---  \t"),
        FRONT.replace("]\n---", "]\n..."),
        FRONT.replace("Vacation policy", "'Vacation policy' # ours"),
        FRONT.replace("Vacation policy", ">-\n  Vacation\n  policy"),
        "+++\ntitle = 'Vacation policy'\n[x]\ntitle = 'no'\n+++\n# Overview\n\nThirty days.",
    ],
)
def test_front_matter_gives_the_title_and_no_text(source: str) -> None:
    plain = read_markdown(source)
    assert (plain.title, plain.text) == ("Vacation policy", "# Overview\n\nThirty days.")


@pytest.mark.parametrize(
    ("matter", "title"),
    [
        ("title: Leave: how to ask", "Leave: how to ask"),
        ("title: 2024", "2024"),
        ("title: no", "no"),
        ("title: [a", "[a"),
        ("seo:\n  title: nested", "H"),
        ("title:", "H"),
        ("# a comment", "H"),
        ("a: &x [1]\nb: [" + "*x," * 1_000 + "]", "H"),
    ],
)
def test_front_matter_is_read_as_people_write_it(matter: str, title: str) -> None:
    plain = read_markdown(f"---\n{matter}\n---\n# H\n\nx")
    assert (plain.title, plain.text) == (title, "# H\n\nx")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("---\n\nWords.\n\n---\n\nMore.", "Words.\n\nMore."),
        ("---\nWords.\n\n---\nMore.", "Words.\n\nMore."),
        ("---\ntitle: x\nnever ends", "title: x never ends"),
        ("----\ntitle: x\n----", "## title: x"),
        ("Words.\n\n---\ntitle: x\n---", "Words.\n\n## title: x"),
        ("---\n---\nWords.", "Words."),
        ("+++", "+++"),
    ],
)
def test_a_ruler_is_no_front_matter(source: str, text: str) -> None:
    assert read_markdown(source).text == text
