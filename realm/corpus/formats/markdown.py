"""Markdown as CommonMark has it, with GitHub's tables: code to the letter, markup gone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from realm.corpus.formats.html import HtmlText, fragment
from realm.corpus.formats.lines import PlainLines, words
from realm.corpus.plain_text import PlainText, read_text, text_reader

# Quotes in lists in quotes; the parser recurses, and leaves out what lies deeper.
_DEEPEST = 100

_TAG = re.compile(r"<(/?)([A-Za-z][\w:-]*)((?:\s[^<>]*)?)>", re.DOTALL)
_VOID = words("area base br col embed hr img input link meta source track wbr")
_HTML = words(
    "a abbr acronym address article aside audio b bdi bdo big blockquote body button canvas "
    "caption center cite code data dd del details dfn dialog dir div dl dt em fieldset figcaption "
    "figure font footer form h1 h2 h3 h4 h5 h6 head header hgroup html i iframe ins kbd label "
    "legend li main map mark math menu meter nav nobr noscript object ol optgroup option output p "
    "picture pre progress q rp rt ruby s samp script search section select slot small span strike "
    "strong style sub summary sup svg table tbody td template textarea tfoot th thead time title "
    "tr tt u ul var video"
)


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802
        """Links are not followed here, so any may stand: an address is markup all the same."""
        return True

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        return link


@text_reader(".md", ".markdown")
def read_markdown(text: str) -> PlainText:
    """Titled by its front matter, else by its first heading; nested too deep, it is plain text."""
    given, body = cut_front_matter(text)
    # Made anew for each: definitions of links belong to one text, and threads share nothing.
    parser = _Parser("commonmark", {"maxNesting": _DEEPEST}).enable(["table", "strikethrough"])
    try:
        tokens = parser.parse(body)
    except RecursionError:
        return read_text(text)
    if any(token.level >= _DEEPEST - 2 for token in tokens):
        return read_text(text)
    reader = _Reader()
    reader.read(tokens)
    return PlainText(given or reader.title or None, reader.lines.text())


# Between `---` (YAML) or `+++` (TOML). It begins at once: two rulers with a paragraph between
# them are no front matter, nor is what never ends.
_FRONT_MATTER = re.compile(
    r"(?:(---)|\+\+\+)[^\S\n]*\n(?![^\S\n]*\n)((?:.*\n)*?)"
    r"(?(1)(?:---|\.\.\.)|\+\+\+)[^\S\n]*(?:\n|\Z)"
)
_KEY = re.compile(r"[\w.\"'-]+[ \t]*[:=](?:\s|$)")
_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(.*)", re.IGNORECASE | re.MULTILINE)


def cut_front_matter(text: str) -> tuple[str, str]:
    """The title that the front matter gives, empty if it gives none, and the text without it."""
    found = _FRONT_MATTER.match(text)
    fields = _fields(found[2], yaml_fence=bool(found[1])) if found else None
    if found is None or fields is None:
        return "", text
    title = next((value for key, value in fields.items() if str(key).lower() == "title"), "")
    shown = " ".join(str(title).split()) if isinstance(title, str | int | float) else ""
    return shown, text[found.end() :]


def _fields(matter: str, *, yaml_fence: bool) -> dict[str, Any] | None:
    """None if it is something else."""
    try:
        # Without types: a title of digits, or one that is `no`, stays as it is written.
        found = yaml.load(matter, yaml.BaseLoader) if yaml_fence else tomllib.loads(matter)
    except (ValueError, RecursionError, yaml.YAMLError):
        # Written by hand, as in `title: Leave: how to ask for it`.
        if not _KEY.match(matter):
            return None
        title = _TITLE.search(matter)
        found = {"title": title[1].strip().strip("\"'") if title else ""}
    if found in (None, ""):
        return {}
    return found if isinstance(found, dict) else None


class _Reader:
    def __init__(self) -> None:
        self.lines = PlainLines()
        self.title = ""
        self._lists: list[int | None] = []  # the number of the next item; None: not numbered
        self._in_heading = False
        self._first_cell = False

    def read(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            getattr(self, f"_{token.type}", _nothing)(token)

    def _paragraph_open(self, token: Token) -> None:
        self.lines.gap(1 if token.hidden else 2)

    _paragraph_close = _paragraph_open

    def _heading_open(self, token: Token) -> None:
        self._in_heading = True
        self.lines.gap(2)

    def _heading_close(self, token: Token) -> None:
        self._in_heading = False
        self.lines.gap(2)

    def _blockquote_open(self, token: Token) -> None:
        self.lines.gap(2)

    _blockquote_close = _hr = _blockquote_open

    def _bullet_list_open(self, token: Token) -> None:
        self._open_list(None)

    def _ordered_list_open(self, token: Token) -> None:
        self._open_list(int(token.attrs.get("start", 1)))

    def _bullet_list_close(self, token: Token) -> None:
        self._lists.pop()
        self.lines.gap(1 if self._lists else 2)

    _ordered_list_close = _bullet_list_close

    def _list_item_open(self, token: Token) -> None:
        number = self._lists[-1]
        self.lines.gap()
        self.lines.exact("  " * (len(self._lists) - 1))
        self.lines.exact("- " if number is None else f"{number}{token.markup} ")
        self.lines.begin_item()
        if number is not None:
            self._lists[-1] = number + 1

    def _list_item_close(self, token: Token) -> None:
        self.lines.end_item()

    def _fence(self, token: Token) -> None:
        self.lines.block(token.content.removesuffix("\n"), 2)

    _code_block = _fence

    def _html_block(self, token: Token) -> None:
        self.lines.gap(2)
        reader = HtmlText(self.lines)
        for node in fragment(token.content):
            reader.read(node)
        self.title = self.title or next(iter(reader.headings.values()), "")
        self.lines.gap(2)

    def _table_open(self, token: Token) -> None:
        self.lines.gap(2)

    _table_close = _table_open

    def _tr_open(self, token: Token) -> None:
        self._first_cell = True
        self.lines.row()

    def _tr_close(self, token: Token) -> None:
        self.lines.end_row()

    def _th_open(self, token: Token) -> None:
        self.lines.cell(self._first_cell)
        self._first_cell = False

    _td_open = _th_open

    def _inline(self, token: Token) -> None:
        text = _inline_text(token.children or [])
        self.lines.exact(text)
        if self._in_heading and not self.title:
            self.title = " ".join(text.split())

    def _open_list(self, first: int | None) -> None:
        self.lines.gap(1 if self._lists else 2)
        self._lists.append(first)


def _nothing(token: Token) -> None:
    """Closing tokens, and those that say nothing."""


def _inline_text(tokens: Sequence[Token]) -> str:
    closings = [_closed(token) for token in tokens]
    still_open: dict[str, int] = {}
    for name in filter(None, closings):
        still_open[name] = still_open.get(name, 0) + 1
    parts: list[str] = []
    for token, closed in zip(tokens, closings, strict=True):
        if closed:
            still_open[closed] -= 1
        if token.type in ("text", "code_inline"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak":
            parts.append("\n")
        elif token.type == "image":
            parts.append(_inline_text(token.children or []))
        elif token.type == "html_inline":
            parts.append(_of_tag(token.content, still_open))
    return "".join(parts).strip(" ")


def _closed(token: Token) -> str:
    found = _TAG.fullmatch(token.content) if token.type == "html_inline" else None
    return found[2].lower() if found and found[1] else ""


def _of_tag(tag: str, still_open: dict[str, int]) -> str:
    """What a tag inside a paragraph leaves: nothing, or itself if it was never meant as one.

    `List<String>` and `a<b and c>d` have the form of tags. What nothing closes and HTML does
    not know is text.
    """
    found = _TAG.fullmatch(tag)
    if not found or found[1]:
        return ""
    name, attributes = found[2].lower(), found[3].rstrip("/")
    as_html_is_written = found[2] == name or found[2].isupper()
    if name == "br":
        return "\n"
    if name == "img":
        return _of_image(tag)
    if name in _VOID or still_open.get(name) or tag.endswith("/>"):
        return ""
    plausible = as_html_is_written and (not attributes.strip() or "=" in attributes)
    return "" if plausible and name in _HTML else tag


def _of_image(tag: str) -> str:
    lines = PlainLines()
    for node in fragment(tag):
        HtmlText(lines).read(node)
    return lines.text()
