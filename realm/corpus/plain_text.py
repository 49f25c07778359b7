"""Files' bytes to a title and plain text, by kind: what a reader reads, one paragraph a line.

`READERS` is the whole list of kinds: a new one is a function from bytes and an entry in it. Each
parser is loaded when its first file comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from realm.corpus.decoding import decode, with_one_line_end


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text without its markup, and its title where it gives one."""

    title: str | None
    text: str


# Shorter lines were broken on purpose: lists, verses, addresses.
_SHORTEST_WRAPPED = 45
_LIST_ITEM = re.compile(r"(?:[-*+•]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s+")
_NOT_PROSE = re.compile(r"::=|>>>|\.\.\. |[{}|\\]|;$|[^=!<>]=[^=]|\S {3,}\S")
UNDERLINE = re.compile(r"([=\-`:.'\"~^_*+#<>!])\1{2,200}\s*")


def unwrap(text: str) -> str:
    """Joins the lines of a hard-wrapped paragraph; lists, code and tables keep theirs."""
    lines: list[str] = []
    previous = ""
    for line in text.splitlines():
        line = line.rstrip()
        if _continues(previous, line):
            lines[-1] += " " + line.lstrip()
        else:
            lines.append(line)
        previous = line
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def from_text(text: str) -> PlainText:
    """Plain text has no headings; its paragraphs are unwrapped."""
    return PlainText(None, unwrap(with_one_line_end(text)))


def from_markdown(text: str) -> PlainText:
    """CommonMark with tables; the title is the front matter's, else the first heading."""
    from realm.corpus.markdown_text import read_markdown

    found = read_markdown(with_one_line_end(text))
    return PlainText(*found) if found else from_text(text)


def from_rst(text: str) -> PlainText:
    """reStructuredText, Sphinx's own included; no file that it names is read."""
    from realm.corpus.rest_text import read_rest

    found = read_rest(with_one_line_end(text))
    return PlainText(*found) if found else from_text(text)


def from_html(text: str) -> PlainText:
    """What a browser would show: no scripts, styles or templates; a block or a row is a line."""
    from realm.corpus.html_text import read_page

    return PlainText(*read_page(with_one_line_end(text)))


def _from_html_file(data: bytes) -> PlainText:
    from realm.corpus.html_text import decode_page

    return from_html(decode_page(data))


def _decoded(read: Callable[[str], PlainText]) -> Callable[[bytes], PlainText]:
    return lambda data: read(decode(data))


READERS: dict[str, Callable[[bytes], PlainText]] = {
    ".md": _decoded(from_markdown),
    ".markdown": _decoded(from_markdown),
    ".rst": _decoded(from_rst),
    ".txt": _decoded(from_text),
    ".html": _from_html_file,
    ".htm": _from_html_file,
}


def _continues(previous: str, line: str) -> bool:
    if len(previous) < _SHORTEST_WRAPPED or not line.strip():
        return False
    bare = line.lstrip()
    if _LIST_ITEM.match(bare) or UNDERLINE.fullmatch(bare):
        return False
    item = _LIST_ITEM.match(previous.lstrip())
    indent = len(previous) - len(previous.lstrip()) + (item.end() if item else 0)
    if len(line) - len(bare) != indent:
        return False
    return not _NOT_PROSE.search(previous) and not _NOT_PROSE.search(line)
