"""HTML as a browser shows it: a block is a line, a row of a table too; bytes as the page says.

The tree is the HTML standard's, made in linear time whatever the nesting; nothing here recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import webencodings
from justhtml import JustHTML

from realm.corpus.formats.lines import PlainLines, words
from realm.corpus.plain_text import PlainText, decode, reader

Node = Any  # justhtml's nodes share no base with `name`, `attrs`, `children` and `data`

_BLOCKS = words(
    "address article aside blockquote body caption center dd details dialog dir div dl dt "
    "fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li "
    "listing main menu nav ol optgroup option p plaintext pre search section summary table "
    "tbody textarea tfoot thead ul xmp"
)
_AS_WRITTEN = words("listing plaintext pre textarea xmp")
_HEADINGS = words("h1 h2 h3 h4 h5 h6")
_CELLS = ("td", "th")
# What a browser that runs scripts never shows, fallbacks for older ones included.
_HIDDEN = words(
    "audio canvas datalist iframe noembed noframes noscript script style svg template video "
    "annotation annotation-xml"
)
_NOT_DISPLAYED = re.compile(r"(?:^|;)\s*display\s*:\s*none\b", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""\s*<\?xml[^>]{1,100}\bencoding\s*=\s*["']([\w.:-]{1,40})["']""")
# The standard looks at the first 1,024 bytes; saved pages have longer comments before.
_DECLARED_WITHIN = 8_192


class HtmlText:
    """Collects the visible text of nodes, the page's title and its headings."""

    def __init__(self, lines: PlainLines) -> None:
        self.title = ""
        self.headings: dict[str, str] = {}  # the first of each level
        self._lines = lines
        self._as_written = 0
        self._heading: list[str] | None = None

    def read(self, root: Node) -> None:
        stack: list[tuple[Node, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                self._leave(node)
            elif node.name == "#text":
                self._text(node.data)
            elif self._enter(node):
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.children or ()))

    def _enter(self, node: Node) -> bool:
        """Whether what is inside is to be read."""
        name: str = node.name
        if name == "title":
            self.title = self.title or " ".join(_text_of(node).split())
            return False
        if name.startswith(("#comment", "#processing", "!")) or _is_hidden(node):
            return False
        if name == "tr":
            self._lines.row()
        elif name in _CELLS:
            self._lines.cell(_is_first_cell(node))
        elif name == "br":
            self._break()
        elif name == "img":
            self._text((node.attrs or {}).get("alt") or "")
        elif name in _BLOCKS:
            self._lines.gap()
        elif "<" in name:  # `c<d</p>`: a tag that the next one cuts short was never meant as one
            self._text("<" + name.partition("<")[0])
        self._as_written += name in _AS_WRITTEN
        if name in _HEADINGS and name not in self.headings:
            self._heading = []
        return True

    def _leave(self, node: Node) -> None:
        name: str = node.name
        if name == "tr":
            self._lines.end_row()
        elif name in _BLOCKS:
            self._lines.gap()
        self._as_written -= name in _AS_WRITTEN
        if name in _HEADINGS and self._heading is not None:
            heading = " ".join("".join(self._heading).split())
            if heading:
                self.headings.setdefault(name, heading)
            self._heading = None

    def _text(self, text: str) -> None:
        if self._heading is not None:
            self._heading.append(text)
        if self._as_written:
            self._lines.exact(text)
        else:
            self._lines.flow(text)

    def _break(self) -> None:
        if self._as_written:
            self._lines.exact("\n")
        else:
            self._lines.gap()
        if self._heading is not None:
            self._heading.append(" ")


@reader(".html", ".htm")
def read_html_file(data: bytes) -> PlainText:
    return read_html(decode_page(data))


def read_html(text: str) -> PlainText:
    """What a browser shows; the title, else the first heading."""
    lines = PlainLines()
    page = HtmlText(lines)
    page.read(JustHTML(text, sanitize=False).root)
    title = page.title or page.headings.get("h1") or next(iter(page.headings.values()), "")
    return PlainText(title or None, lines.text())


def fragment(text: str) -> Iterator[Node]:
    """The nodes of a piece of a page, wherever in it the piece may stand: a table's row too."""
    for node in _nodes(JustHTML(f"<template>{text}", sanitize=False).root):
        if node.name == "template":
            yield node.template_content
        elif node.name == "body":  # what stands behind a stray </template>
            yield node


def decode_page(data: bytes) -> str:
    """By byte order mark, else as the page declares, else UTF-8.

    :raises InvalidInput: if the bytes are not what the page declares.
    """
    label = _declared(data)
    encoding = webencodings.lookup(label) if label else None
    # A page whose declaration could be read is not in UTF-16, whatever it says.
    if encoding is None or encoding.name.startswith("utf-16"):
        return decode(data)
    return decode(data, encoding.codec_info)


def _declared(data: bytes) -> str:
    if xml := _XML_ENCODING.match(data):
        return xml[1].decode()
    head = JustHTML(data[:_DECLARED_WITHIN].decode("latin-1"), sanitize=False)
    found = (_charset(node.attrs or {}) for node in _nodes(head.root) if node.name == "meta")
    return next(filter(None, found), "")


def _charset(meta: dict[str, str | None]) -> str:
    label = meta.get("charset") or ""
    if (meta.get("http-equiv") or "").lower() == "content-type":
        label = label or (meta.get("content") or "").lower().partition("charset=")[2]
    return label.strip(" \t\n\f\r\"'").partition(";")[0]


def _is_hidden(node: Node) -> bool:
    name: str = node.name
    attributes: dict[str, str | None] = node.attrs or {}
    if name in _HIDDEN or (name == "dialog" and "open" not in attributes):
        return True
    if (attributes.get("hidden", "until-found") or "").lower() != "until-found":
        return True
    return bool(_NOT_DISPLAYED.search(attributes.get("style") or ""))


def _is_first_cell(node: Node) -> bool:
    cells = (each for each in node.parent.children if each.name in _CELLS)
    return next(cells, node) is node


def _nodes(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children or ()))


def _text_of(root: Node) -> str:
    return "".join(node.data for node in _nodes(root) if node.name == "#text")
