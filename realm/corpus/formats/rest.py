"""reStructuredText by docutils, Sphinx's own directives and roles too: its tree, read as HTML.

What docutils does not know keeps its content. No file is read, whatever a text says.
"""

from __future__ import annotations

import copy
import html
import re
from collections.abc import Callable, Iterator
from typing import Any

from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser, states
from docutils.utils import new_document, unescape

from realm.corpus.formats.html import read_html
from realm.corpus.formats.lines import words
from realm.corpus.plain_text import PlainText, read_text, text_reader

# Tables and what substitutions are made of are worth docutils' own reading; none reads a file
# while `file_insertion_enabled` is off.
_AS_DOCUTILS_READS = words("csv-table list-table parsed-literal replace table unicode")
_SILENT = words(
    "contents currentmodule date default-role highlight highlightlang include index literalinclude "
    "meta raw role section-numbering sectnum tabularcolumns target-notes toctree"
)
_CODE = words(
    "code code-block digraph doctest graph graphviz ipython jinja math mermaid plantuml "
    "productionlist prompt sourcecode testcleanup testcode testoutput testsetup uml"
)
_ARGUMENT_IS_NOT_TEXT = words("class container cssclass ifconfig only rst-class")
_SIGNATURES = words(
    "attribute autoattribute autoclass autoexception autofunction automethod automodule class "
    "confval data decorator describe envvar exception function method module object option "
    "program property staticmethod classmethod"
)
_OPTION = re.compile(r":[a-z][\w-]*:(?:\s|$)")
_TARGET = re.compile(r"(?s)(.+?)\s*<[^<>]+>")
_CODE_ROLES = words("code math samp")

# docutils looks for the end of each opened markup in all that follows: within a piece.
_PIECE = 4_000
_PIECES = re.compile(rf"(?s).{{1,{_PIECE}}}(?:\s|\Z)|.{{1,{_PIECE}}}")
_MAX_EXPANSION = 1_000


@text_reader(".rst")
def read_rest(text: str) -> PlainText:
    """With its first title; nested too deep, it is plain text."""
    parser = Parser(inliner=_inliner())
    parser.state_classes = _STATES
    settings = get_default_settings(Parser)
    settings.report_level = settings.halt_level = 5  # errors are nodes, told to nobody
    settings.file_insertion_enabled = settings.raw_enabled = False
    settings.line_length_limit = len(text) + 1
    document = new_document("", settings)
    try:
        parser.parse(text, document)
    except RecursionError:
        return read_text(text)
    return read_html("".join(_page(document)))


class _Directives:
    """Mixed into each state of docutils' parser: directives are read here."""

    parent: Any
    state_machine: Any
    nested_parse: Callable[..., Any]
    nested_sm_kwargs: dict[str, Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.nested_sm_kwargs = {"state_classes": _STATES, "initial_state": "Body"}

    def directive(self, match: re.Match[str], **presets: Any) -> tuple[list[Any], bool]:
        name = match[1].lower()
        if name in _AS_DOCUTILS_READS:
            return super().directive(match, **presets)  # type: ignore[misc, no-any-return]
        block, _, _, blank_finish = self.state_machine.get_first_known_indented(
            match.end(), strip_top=0
        )
        if name in _SILENT:
            # Inside a substitution's definition: its name stands for it.
            return [nodes.Text(each) for each in presets.values()], blank_finish
        return self._nodes(name, block), blank_finish

    def _nodes(self, name: str, block: Any) -> list[Any]:
        arguments, options, start = _parted(block)
        content = block[start:]
        if name in _CODE:
            lines = (
                [*block[1:arguments], *content]
                if name != "math"
                else [*block[:arguments], *content]
            )
            code = "\n".join(lines).strip("\n")
            return [nodes.literal_block(code, code)] if code else []
        if name in ("image", "figure"):
            found: Any = nodes.container()
            found += nodes.image(alt=options.get("alt", ""))
        else:
            found = self._argument(name, block[:arguments])
        self.nested_parse(content, 0, found)
        return [found] if name != "image" else list(found.children)

    def _argument(self, name: str, lines: Any) -> Any:
        found = nodes.container()
        if name in _ARGUMENT_IS_NOT_TEXT or not lines:
            return found
        if ":" in name or name in _SIGNATURES:
            found += [nodes.paragraph(line, line) for line in lines]
        else:
            self.nested_parse(lines, 0, found)
        return found


def _parted(block: Any) -> tuple[int, dict[str, str], int]:
    """How many lines are arguments, the options behind them, and where the content begins."""
    arguments = 0
    lines = [line.strip() for line in block]
    while arguments < len(lines) and lines[arguments] and not _OPTION.match(lines[arguments]):
        arguments += 1
    at = arguments if arguments or not lines else int(not lines[0])
    options: dict[str, str] = {}
    while at < len(lines) and lines[at] and _OPTION.match(lines[at]):
        _, name, value = lines[at].split(":", 2)
        options[name] = value.strip()
        at += 1
    return arguments, options, at


def _with_directives(state: type) -> type:
    made: Any = type(state.__name__, (_Directives, state), {})
    if hasattr(state, "explicit"):
        made.explicit = copy.copy(made.explicit)
        made.explicit.constructs = [
            (_Directives.directive if method is states.Body.directive else method, pattern)
            for method, pattern in made.explicit.constructs
        ]
    return made  # type: ignore[no-any-return]


_STATES: tuple[type, ...] = tuple(map(_with_directives, states.state_classes))


def _inliner() -> Any:
    # On an instance: docutils makes its patterns from the very class's own attributes.
    inliner: Any = states.Inliner()
    parse = inliner.parse

    def in_pieces(text: str, *where: Any) -> tuple[list[Any], list[Any]]:
        if len(text) <= _PIECE:
            return parse(text, *where)  # type: ignore[no-any-return]
        found: list[Any] = []
        messages: list[Any] = []
        for piece in _PIECES.findall(text):
            more, told = parse(piece, *where)
            found += more
            messages += told
        return found, messages

    inliner.parse = in_pieces
    inliner.interpreted = _interpreted
    # Addresses that stand by themselves are text as they are; docutils recurses over them.
    inliner.implicit_inline = lambda text, line: [nodes.Text(text)] if text else []
    return inliner


def _interpreted(source: str, text: str, role: str, line: int) -> tuple[list[Any], list[Any]]:
    """Any role, known or not: what a reader reads of it."""
    if role in _CODE_ROLES:
        code = unescape(text, True)
        return [nodes.literal(code, code)], []
    shown = unescape(text)
    if titled := _TARGET.fullmatch(shown):
        shown = titled[1]
    elif role in ("pep", "rfc"):
        shown = f"{role.upper()} {shown}"
    else:
        shown = shown.lstrip("~!") or shown
    return [nodes.Text(shown)], []


_TAGS = {
    "attribution": "div", "block_quote": "blockquote", "bullet_list": "ul", "caption": "p",
    "citation": "div", "definition": "dd", "definition_list": "dl", "definition_list_item": "div",
    "doctest_block": "pre", "entry": "td", "enumerated_list": "ol", "field": "div",
    "field_list": "section", "footnote": "div", "line": "div", "line_block": "section",
    "list_item": "li", "literal": "code", "literal_block": "pre", "math": "code",
    "math_block": "pre", "option_list": "section", "option_list_item": "div", "row": "tr",
    "rubric": "p", "table": "table", "tbody": "tbody", "thead": "thead", "title": "p",
}  # fmt: skip
_SKIPPED = words("colspec comment pending raw substitution_definition")
_ITEMS = words("definition description entry field_body list_item")


def _page(document: Any) -> Iterator[str]:
    """The document as HTML, in pieces; iterative, as the tree may be deep."""
    stack: list[Any] = [document]
    while stack:
        node = stack.pop()
        if type(node) is str:
            yield node
        elif (text := _text(node, document.substitution_defs)) is not None:
            yield html.escape(text)
        elif node.tagname == "image":
            image = f"<img alt='{html.escape(node.get('alt', ''))}'>"
            yield image if isinstance(node.parent, nodes.TextElement) else f"<p>{image}</p>"
        elif node.tagname == "system_message":  # not the message, but what could not be read
            stack.extend(each for each in node.children if isinstance(each, nodes.literal_block))
        elif node.tagname not in _SKIPPED:
            tag = _tag(node)
            yield f"<{tag}{_attributes(node)}>" if tag else ""
            stack.append(f"</{tag}>" if tag else "")
            stack.extend(reversed(node.children))


def _text(node: Any, substitutions: dict[str, Any]) -> str | None:
    """What the node says in words, if that is not what its children say."""
    text: str = node.astext() if isinstance(node, _WORDS) else ""
    if isinstance(node, nodes.Text):
        return text
    if isinstance(node, nodes.substitution_reference):
        definition = substitutions.get(" ".join(text.split()))
        meant = definition.astext().strip() if definition is not None else ""
        return meant if meant and len(meant) <= _MAX_EXPANSION else text
    if isinstance(node, nodes.footnote_reference | nodes.citation_reference):
        return f"[{text or '#' + node.get('refname', '')}]"
    if isinstance(node, nodes.label):
        return f"[{text}] "
    if isinstance(node, nodes.classifier):
        return f": {text}"
    if isinstance(node, nodes.option_group):
        return ", ".join(option.astext() for option in node.children) + " "
    if isinstance(node, nodes.field):
        return None if node.children[1].astext().strip() else ""
    return f"{text}: " if isinstance(node, nodes.field_name) else None


_WORDS = (
    nodes.Text, nodes.substitution_reference, nodes.footnote_reference, nodes.citation_reference,
    nodes.label, nodes.classifier, nodes.field_name,
)  # fmt: skip


def _tag(node: Any) -> str:
    if node.tagname == "title" and isinstance(node.parent, nodes.section):
        return f"h{min(6, _depth(node))}"
    if node.tagname == "title" and isinstance(node.parent, nodes.table):
        return "caption"
    if node.tagname == "entry" and isinstance(node.parent.parent, nodes.thead):
        return "th"
    if node.tagname == "paragraph":
        of, first = node.parent.tagname, node.parent.children[0]
        alone = of in _ITEMS and len(node.parent.children) == 1
        return "" if alone or isinstance(first, nodes.label) else "p"
    return _TAGS.get(node.tagname, "")


def _depth(node: Any) -> int:
    depth = 0
    while node := node.parent:
        depth += isinstance(node, nodes.section)
    return depth


def _attributes(node: Any) -> str:
    if start := node.get("start"):
        return f" start={start}"
    return f" colspan={node['morecols'] + 1}" if "morecols" in node else ""
