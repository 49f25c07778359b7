"""Front matter: what stands above a page's text, between `---` (YAML) or `+++` (TOML)."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

_CLOSING = {"---": ("---", "..."), "+++": ("+++",)}
_KEY = re.compile(r"[\w.\"'-]+[ \t]*[:=](?:\s|$)")
_TITLE = re.compile(r"title[ \t]*[:=][ \t]*(.*)", re.IGNORECASE)


def cut(text: str) -> tuple[str, str]:
    """The title that the front matter gives, empty if it gives none, and the text without it.

    Two rulers with a paragraph between them are no front matter, nor is what never ends.
    """
    first, _, rest = text.partition("\n")
    fence = first.rstrip()
    if fence not in _CLOSING:
        return "", text
    matter: list[str] = []
    at = 0
    while at < len(rest):
        end = rest.find("\n", at)
        end = len(rest) if end < 0 else end
        line = rest[at:end]
        if line.rstrip() in _CLOSING[fence]:
            fields = _fields(fence, matter)
            return ("", text) if fields is None else (_title(fields), rest[end + 1 :])
        if not matter and not line.strip():
            return "", text  # a ruler: front matter begins at once
        matter.append(line)
        at = end + 1
    return "", text


def _fields(fence: str, lines: list[str]) -> dict[str, Any] | None:
    source = "\n".join(lines)
    try:
        # Without types: a title of digits, or one that is `no`, stays as it is written.
        found = tomllib.loads(source) if fence == "+++" else yaml.load(source, yaml.BaseLoader)
    except (ValueError, RecursionError, yaml.YAMLError):
        # Written by hand, as in `title: Leave: how to ask for it`.
        found = _by_lines(lines)
    if found in (None, ""):
        return {}
    return found if isinstance(found, dict) else None


def _by_lines(lines: list[str]) -> dict[str, str] | None:
    if not _KEY.match(lines[0]):
        return None
    titles = (found[1] for line in lines if (found := _TITLE.match(line)))
    return {"title": next(titles, "").strip().strip("\"'")}


def _title(fields: dict[str, Any]) -> str:
    titles = (value for key, value in fields.items() if str(key).lower() == "title")
    title = next(titles, "")
    return " ".join(str(title).split()) if isinstance(title, str | int | float) else ""
