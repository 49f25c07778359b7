"""Markdown as CommonMark has it, with GitHub's tables: rendered as HTML, and read as that."""

from __future__ import annotations

import html
import re
import tomllib
from collections.abc import Sequence
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from realm.corpus.formats.html import read_html
from realm.corpus.formats.lines import words
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
        if any(token.level >= _DEEPEST - 2 for token in tokens):
            return read_text(text)
        page = parser.renderer.render(list(map(_settled, tokens)), parser.options, {})
    except RecursionError:
        return read_text(text)
    plain = read_html(page)
    return PlainText(given or plain.title, plain.text)


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


_SEEN = "\ue000"


def _settled(token: Token) -> Token:
    """The token with its HTML as it is meant: tags that are none are text."""
    if token.type == "html_block" and _SEEN not in read_html(token.content + _SEEN).text:
        # What would hide the text behind it, as a tag that never ends does, stands alone.
        token.content = f"<p>{html.escape(read_html(token.content).text)}</p>"
    elif token.children:
        _settle_tags(token.children)
    return token


def _settle_tags(tokens: Sequence[Token]) -> None:
    still_open: dict[str, int] = {}
    for token in reversed(tokens):
        found = _TAG.fullmatch(token.content) if token.type == "html_inline" else None
        if found and found[1]:
            name = found[2].lower()
            still_open[name] = still_open.get(name, 0) + 1
            token.content = ""
        elif found:
            _settle_tag(token, found, still_open)
        elif token.type == "html_inline":
            token.content = ""


def _settle_tag(token: Token, found: re.Match[str], still_open: dict[str, int]) -> None:
    """Keeps a break or image, drops markup, and makes text of what was never meant as a tag.

    `List<String>` and `a<b and c>d` have the form of tags. What nothing closes and HTML does
    not know is text.
    """
    name, attributes = found[2].lower(), found[3].rstrip("/")
    if name in ("br", "img"):
        return
    as_html_is_written = found[2] == name or found[2].isupper()
    plausible = as_html_is_written and (not attributes.strip() or "=" in attributes)
    markup = name in _VOID or found[3].endswith("/") or (plausible and name in _HTML)
    token.content = "" if markup or still_open.get(name) else html.escape(token.content)
