"""Markup to plain text, lightly: what a reader reads, one paragraph a line.

Not renderers: whatever a rule does not know stays as it is. Every pattern is bounded, so that
no text takes more than linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text without its markup and its first heading, where it has one."""

    title: str | None
    text: str


# Shorter lines were broken on purpose: lists, verses, addresses.
_SHORTEST_WRAPPED = 45
_LIST_ITEM = re.compile(r"(?:[-*+•]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s+")
_NOT_PROSE = re.compile(r"::=|>>>|\.\.\. |[{}|\\]|;$|[^=!<>]=[^=]|\S {3,}\S")
_UNDERLINE = re.compile(r"([=\-`:.'\"~^_*+#<>!])\1{2,200}\s*")

_MD_FENCE = re.compile(r"\s{0,3}(?:```|~~~)")
_MD_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.{1,500})")
_MD_FRONT_MATTER = re.compile(r"---\n(?:(?!---\n).*\n){0,200}---\n")
_MD_INLINE = (
    (re.compile(r"<!--.{0,2000}?-->", re.DOTALL), ""),
    (re.compile(r"!?\[([^\[\]\n]{0,500})\](?:\([^()\n]{0,2000}\)|\[[^\[\]\n]{0,500}\])"), r"\1"),
    (re.compile(r"<(https?://[^\s<>]{1,2000})>"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>\n]{0,500}>"), ""),
    (re.compile(r"(\*\*\*|\*\*|___|__)(?=\S)([^*_\n]{1,500})(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]{1,500})(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(`{1,2})([^`\n]{1,500})\1"), r"\2"),
)
_MD_QUOTE = re.compile(r"^ {0,3}>[ >]{0,20}")

_RST_DIRECTIVE = re.compile(r"(\s{0,80})\.\. (?:[\w:.+-]{1,80}::)(?:[ \t]+(.{0,2000}))?")
_RST_COMMENT = re.compile(r"\s{0,80}\.\.(?:\s.{0,2000})?")
_RST_OPTION = re.compile(r"\s{1,80}:[\w-]{1,80}:(?:\s.{0,2000})?")
_RST_SILENT = frozenset(["code-block", "code", "highlight", "sourcecode", "toctree", "contents"])
_RST_INLINE = (
    (re.compile(r":[\w:+-]{1,80}:`([^`<\n]{1,500}?)\s{0,3}<[^<>`\n]{1,500}>`"), r"\1"),
    (re.compile(r":[\w:+-]{1,80}:`[~!]?([^`\n]{1,500})`"), r"\1"),
    (re.compile(r"``([^`\n]{1,500})``"), r"\1"),
    (re.compile(r"`([^`<\n]{1,500}?)\s{0,3}<[^<>`\n]{1,2000}>`__?"), r"\1"),
    (re.compile(r"`([^`\n]{1,500})`_{0,2}"), r"\1"),
    (re.compile(r"\*\*(?=\S)([^*\n]{1,500})(?<=\S)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]{1,500})(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"::(?=\s*$)", re.MULTILINE), ":"),
)

_HTML_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
# The standard parser fails an assertion on a broken `<![CDATA[`, and takes quadratic time over
# tags that never close.
_HTML_MARKED_SECTION = re.compile(r"<!\[[^<>]{0,200}>?")
_HTML_STRAY = re.compile(r"<(?![/!?a-zA-Z][^<>]{0,5000}>)")


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
    return PlainText(None, unwrap(text))


def from_markdown(text: str) -> PlainText:
    title: str | None = None
    lines: list[str] = []
    block: list[str] = []
    fenced = False
    body = _MD_FRONT_MATTER.sub("", text, count=1) if text.startswith("---\n") else text
    for line in [*body.splitlines(), "```"]:
        if _MD_FENCE.match(line):
            lines.extend(block if fenced else _markdown_block(block))
            block, fenced = [], not fenced
            continue
        heading = None if fenced else _markdown_heading(line, block)
        if heading:
            title = title or _replace(heading, _MD_INLINE)
            block += ["", heading, ""]
        else:
            block.append(line)
    return PlainText(title, re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n"))


def from_rst(text: str) -> PlainText:
    """Also for docstrings and for `pydoc` topics, which are written much alike."""
    title: str | None = None
    lines: list[str] = []
    in_directive = False
    for line in text.splitlines():
        directive = _RST_DIRECTIVE.fullmatch(line)
        if directive:
            in_directive = True
            silent = line.strip()[3:].split("::")[0] in _RST_SILENT
            lines.append("" if silent else directive[1] + (directive[2] or ""))
        elif _RST_COMMENT.fullmatch(line) or (in_directive and _RST_OPTION.fullmatch(line)):
            continue
        elif _UNDERLINE.fullmatch(line):
            heading = lines[-1].strip() if lines else ""
            if heading and len(line.strip()) >= len(heading) // 2:
                title = title or _replace(heading, _RST_INLINE)
            lines.append("")
        else:
            in_directive = False
            lines.append(line)
    return PlainText(title, unwrap(_replace("\n".join(lines), _RST_INLINE)))


def from_html(text: str) -> PlainText:
    """What a browser would show: no scripts, styles or templates; a block is a line."""
    reader = _HtmlReader()
    text = _HTML_MARKED_SECTION.sub(" ", _HTML_COMMENT.sub(" ", text))
    reader.feed(_HTML_STRAY.sub("&lt;", text))
    reader.close()
    title = " ".join("".join(reader.title).split()) or " ".join("".join(reader.heading).split())
    return PlainText(title or None, reader.plain())


def _continues(previous: str, line: str) -> bool:
    if len(previous) < _SHORTEST_WRAPPED or not line.strip():
        return False
    bare = line.lstrip()
    if _LIST_ITEM.match(bare) or _UNDERLINE.fullmatch(bare):
        return False
    item = _LIST_ITEM.match(previous.lstrip())
    indent = len(previous) - len(previous.lstrip()) + (item.end() if item else 0)
    if len(line) - len(bare) != indent:
        return False
    return not _NOT_PROSE.search(previous) and not _NOT_PROSE.search(line)


def _markdown_heading(line: str, block: list[str]) -> str | None:
    """The heading that this line is, or that it underlines (then taken out of the block)."""
    found = _MD_HEADING.fullmatch(line)
    if found:
        return found[1].strip().rstrip("#").strip()
    underlined = line.strip() and not line.strip().strip("=-") and len(line.strip()) >= 3
    if underlined and block and block[-1].strip() and not _LIST_ITEM.match(block[-1]):
        return block.pop().strip()
    return None


def _markdown_block(lines: list[str]) -> list[str]:
    text = "\n".join(_MD_QUOTE.sub("", line, count=1) for line in lines)
    return ["", *unwrap(_replace(text, _MD_INLINE)).splitlines(), ""]


def _replace(text: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


class _HtmlReader(HTMLParser):
    """Collects visible text, the page's title and its first heading."""

    _HIDDEN = frozenset(["script", "style", "template", "noscript", "svg", "head"])
    _BLOCKS = _words(
        "address article aside blockquote br dd div dl dt figcaption figure footer form h1 h2 h3 "
        "h4 h5 h6 header hr li main nav ol p pre section table tr ul td th"
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.heading: list[str] = []
        self._lines: list[list[str]] = [[]]
        self._open: list[str] = []
        self._pre = 0
        self._heading_done = False

    def plain(self) -> str:
        lines = ["".join(parts) for parts in self._lines]
        return "\n".join(line.rstrip() for line in lines if line.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "body":
            self._open.clear()  # a head left open ends where the body begins
        if tag in self._HIDDEN or tag in ("title", "h1"):
            self._open.append(tag)
        if tag in self._BLOCKS:
            self._lines.append([])
        self._pre += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass
        if tag in self._BLOCKS:
            self._lines.append([])
        if tag == "h1" and self.heading:
            self._heading_done = True
        self._pre -= tag == "pre" and self._pre > 0

    def handle_data(self, data: str) -> None:
        if "title" in self._open and "svg" not in self._open:
            self.title.append(data)
        elif not self._HIDDEN.intersection(self._open):
            if "h1" in self._open and not self._heading_done:
                self.heading.append(data)
            self._add(data)

    def _add(self, data: str) -> None:
        if self._pre:
            first, *rest = data.split("\n")
            self._lines[-1].append(first)
            self._lines.extend([line] for line in rest)
            return
        line = self._lines[-1]
        words = re.sub(r"\s+", " ", data)
        line.append(words.lstrip() if _at_space(line) else words)


def _at_space(line: list[str]) -> bool:
    return not line or not line[-1] or line[-1].endswith(" ")
