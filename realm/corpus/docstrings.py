"""Docstrings and `pydoc` topics to plain text: by a few rules, for no specification holds.

Most use some of reStructuredText's marks and break its rules (`b'\\n'`, `*args`): its parser loses
characters of them, and takes minutes for Python's own. Each pattern is bounded.
"""

from __future__ import annotations

import re

from realm.corpus.plain_text import UNDERLINE, PlainText, unwrap

_DIRECTIVE = re.compile(r"(\s{0,80})\.\. (?:[\w:.+-]{1,80}::)(?:[ \t]+(.{0,2000}))?")
_COMMENT = re.compile(r"\s{0,80}\.\.(?:\s.{0,2000})?")
_OPTION = re.compile(r"\s{1,80}:[\w-]{1,80}:(?:\s.{0,2000})?")
_SILENT = frozenset(["code-block", "code", "highlight", "sourcecode", "toctree", "contents"])
_INLINE = (
    (re.compile(r":[\w:+-]{1,80}:`([^`<\n]{1,500}?)\s{0,3}<[^<>`\n]{1,500}>`"), r"\1"),
    (re.compile(r":[\w:+-]{1,80}:`[~!]?([^`\n]{1,500})`"), r"\1"),
    (re.compile(r"``([^`\n]{1,500})``"), r"\1"),
    (re.compile(r"`([^`<\n]{1,500}?)\s{0,3}<[^<>`\n]{1,2000}>`__?"), r"\1"),
    (re.compile(r"`([^`\n]{1,500})`_{0,2}"), r"\1"),
    (re.compile(r"\*\*(?=\S)([^*\n]{1,500})(?<=\S)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]{1,500})(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"::(?=\s*$)", re.MULTILINE), ":"),
)


def read_docstring(text: str) -> PlainText:
    """Its first underlined line, and its text with paragraphs unwrapped."""
    title: str | None = None
    lines: list[str] = []
    in_directive = False
    for line in text.splitlines():
        directive = _DIRECTIVE.fullmatch(line)
        if directive:
            in_directive = True
            silent = line.strip()[3:].split("::")[0] in _SILENT
            lines.append("" if silent else directive[1] + (directive[2] or ""))
        elif _COMMENT.fullmatch(line) or (in_directive and _OPTION.fullmatch(line)):
            continue
        elif UNDERLINE.fullmatch(line):
            heading = lines[-1].strip() if lines else ""
            if heading and len(line.strip()) >= len(heading) // 2:
                title = title or _without_marks(heading)
            lines.append("")
        else:
            in_directive = False
            lines.append(line)
    return PlainText(title, unwrap(_without_marks("\n".join(lines))))


def _without_marks(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text
