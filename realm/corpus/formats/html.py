"""HTML as a browser shows it, with headings, code and tables marked; bytes as the page says.

Markdown and reStructuredText come through here too. The tree is the HTML standard's, made in
linear time whatever the nesting; nothing here recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import webencodings
from justhtml import JustHTML

from realm.corpus import structure
from realm.corpus.formats.lines import PlainLines, words
from realm.corpus.plain_text import PlainText, decode, reader

Node = Any  # justhtml's nodes share no base with `name`, `attrs`, `children` and `data`

# What stands between blank lines, and what begins a line.
_PARAGRAPHS = words("blockquote dl figure hr p section table")
_LINES = words(
    "address article aside body caption center dd details dialog dir div dt fieldset figcaption "
    "footer form header hgroup html legend li main menu nav ol optgroup option search summary "
    "textarea tr ul"
)
_HEADINGS = words("h1 h2 h3 h4 h5 h6")
_CODE = words("listing plaintext pre xmp")
_CELLS = words("td th")
_LISTS = words("dir menu ol ul")
_INLINE_CODE = words("code kbd samp tt")
# What a browser that runs scripts never shows, fallbacks for older ones included.
_HIDDEN = words(
    "audio canvas datalist iframe noembed noframes noscript script style svg template video "
    "annotation annotation-xml"
)
_NOT_DISPLAYED = re.compile(r"(?:^|;)\s*display\s*:\s*none\b", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"""\s*<\?xml[^>]{1,100}\bencoding\s*=\s*["']([\w.:-]{1,40})["']""")
# The standard looks at the first 1,024 bytes; saved pages have longer comments before.
_DECLARED_WITHIN = 8_192
# A longer header of a column is not repeated in each row.
_LONGEST_HEADER = 80


class _Reader:
    """Collects the visible text of a page, its title and the first heading of each level."""

    def __init__(self) -> None:
        self.title = ""
        self.headings: dict[str, str] = {}
        # Headings, code and cells are collected apart and put into what is around them.
        self._stack = [PlainLines()]
        self._as_written = 0
        self._inline_code = 0
        self._lists: list[int | None] = []  # the number of the next item; None: not numbered
        self._tables: list[_Table] = []

    @property
    def lines(self) -> PlainLines:
        return self._stack[-1]

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
        if name == "tr" and self._tables and node is self._tables[-1].head:
            return False
        if name in _HEADINGS or name in _CODE or name in _CELLS:
            self._stack.append(PlainLines())
        elif name == "table":
            self._tables.append(_Table(node))
        elif name in _LISTS:
            self._lists.append(_start(node) if name == "ol" else None)
        elif name == "br":
            self._break()
        elif name == "img":
            self._text((node.attrs or {}).get("alt") or "")
        elif "<" in name:  # `c<d</p>`: a tag that the next one cuts short was never meant as one
            self._text("<" + name.partition("<")[0])
        self._gap(name)
        if name == "li" and self._lists:
            self._begin_item()
        self._as_written += name in _CODE or name == "textarea"
        self._inline_code += name in _INLINE_CODE
        return True

    def _leave(self, node: Node) -> None:
        name: str = node.name
        self._as_written -= name in _CODE or name == "textarea"
        self._inline_code -= name in _INLINE_CODE
        if name in _HEADINGS:
            self._heading(name, " ".join(self._stack.pop().text().split()))
        elif name in _CODE:
            self._code(self._stack.pop().text())
        elif name in _CELLS:
            self._cell(node, self._stack.pop().text())
        elif name == "tr" and self._tables:
            self._row(self._tables[-1].end_row())
        elif name == "table":
            self._tables.pop()
        elif name in _LISTS:
            self._lists.pop()
        elif name == "li":
            self.lines.end_item()
        self._gap(name)

    def _gap(self, name: str) -> None:
        if name in _PARAGRAPHS or (name in _LISTS and not self._lists):
            self.lines.gap(2)
        elif name in _LINES:
            self.lines.gap()

    def _text(self, text: str) -> None:
        if self._as_written:
            self.lines.exact(text)
        elif self._inline_code:
            self.lines.exact(_LINE_BREAK.sub(" ", text))
        else:
            self.lines.flow(text)

    def _break(self) -> None:
        if self._as_written:
            self.lines.exact("\n")
        else:
            self.lines.gap()

    def _begin_item(self) -> None:
        number = self._lists[-1]
        if number is not None:
            self._lists[-1] = number + 1
        indent = "  " * (len(self._lists) - 1)
        self.lines.begin_item(indent + ("- " if number is None else f"{number}. "))

    def _heading(self, name: str, text: str) -> None:
        if text:
            self.headings.setdefault(name, text)
        if len(self._stack) > 1 or len(text) > structure.LONGEST_HEADING:
            self.lines.block(text)
        elif text:
            self.lines.block(structure.heading(int(name[1]), text), 2)

    def _code(self, text: str) -> None:
        if len(self._stack) > 1 and "\n" not in text:
            self.lines.exact(text)
        elif text.strip():
            self.lines.block(structure.code(text), 2)

    def _cell(self, node: Node, text: str) -> None:
        if self._tables:
            self._tables[-1].add(node, text)
        else:
            self.lines.block(text)

    def _row(self, cells: list[str]) -> None:
        """A line, unless a cell has several or a row: such a table is a page's layout."""
        filled = list(filter(None, cells))
        if len(filled) > 1 and not any("\n" in cell or cell.endswith(" |") for cell in filled):
            self.lines.block(structure.row(cells))
        else:
            for cell in filled:
                self.lines.block(cell)


class _Table:
    """Each cell with the header of its column."""

    def __init__(self, node: Node) -> None:
        self.head, self._headers = _head(node)
        self._cells: list[str] = []
        self._column = 0

    def add(self, node: Node, text: str) -> None:
        header = self._headers[self._column] if self._column < len(self._headers) else ""
        self._column += _span(node)
        if header:
            self._cells += [f"{header}: {text}"] if text else []
        else:
            self._cells.append(text)

    def end_row(self) -> list[str]:
        """The cells of the row; of those with a header, the ones that have text."""
        cells, self._cells, self._column = self._cells, [], 0
        return cells


def _head(table: Node) -> tuple[Node | None, list[str]]:
    """The first row and its cells' texts, if it heads others; else none."""
    parts = table.children or ()
    rows = [
        row
        for part in parts
        for row in ((part,) if part.name == "tr" else part.children or ())
        if row.name == "tr"
    ]
    cells = [each for each in rows[0].children or () if each.name in _CELLS] if rows else []
    if len(rows) < 2 or not cells or any(each.name != "th" for each in cells):
        return None, []
    headers: list[str] = []
    for cell in cells:
        text = " ".join(_text_of(cell, within=100).split())
        headers += [text if len(text) <= _LONGEST_HEADER else ""] * _span(cell)
    return rows[0], headers


def _span(cell: Node) -> int:
    return _number((cell.attrs or {}).get("colspan"), 1)


def _start(numbered: Node) -> int:
    return _number((numbered.attrs or {}).get("start"), 1)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch("[0-9]{1,3}", text) else default


_LINE_BREAK = re.compile(r"\s*\n\s*")


@reader(".html", ".htm", encoded=True)
def read_html_file(data: bytes) -> PlainText:
    return read_html(decode_page(data))


def read_html(text: str) -> PlainText:
    """What a browser shows; the title, else the first heading."""
    page = _Reader()
    page.read(JustHTML(text, sanitize=False).root)
    title = page.title or page.headings.get("h1") or next(iter(page.headings.values()), "")
    return PlainText(title or None, page.lines.text())


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


def _nodes(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children or ()))


def _text_of(root: Node, within: int | None = None) -> str:
    """The text of its first nodes, or of all."""
    return "".join(node.data for node in islice(_nodes(root), within) if node.name == "#text")
