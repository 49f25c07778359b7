"""reStructuredText by docutils: code to the letter, Sphinx's own directives and roles too.

What docutils does not know keeps its content. No file is read, whatever a text says.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser, states
from docutils.utils import new_document, unescape

from realm.corpus.formats.lines import PlainLines, words
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
    reader = _Reader(document.substitution_defs)
    reader.read(document)
    return PlainText(reader.title or None, reader.lines.text())


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


class _Reader:
    """Reads the tree of a document, iteratively."""

    def __init__(self, substitutions: dict[str, Any]) -> None:
        self.lines = PlainLines()
        self.title = ""
        self._substitutions = substitutions
        self._lists: list[tuple[Any, int]] = []

    def read(self, root: Any) -> None:
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            name = _method(node)
            if leaving:
                getattr(self, f"_end{name}", _nothing)(node)
            elif getattr(self, name, _nothing)(node) is not False:
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.children))

    def _Text(self, node: Any) -> None:  # noqa: N802
        self.lines.flow(node.astext())

    def _literal(self, node: Any) -> bool:
        self.lines.exact(" ".join(node.astext().split("\n")))
        return False

    _math = _literal

    def _literal_block(self, node: Any) -> bool:
        self.lines.block(node.astext(), 2)
        return False

    _doctest_block = _math_block = _literal_block

    def _paragraph(self, node: Any) -> None:
        alone = len(node.parent.children) == 1 and isinstance(
            node.parent, nodes.list_item | nodes.definition | nodes.field_body | nodes.entry
        )
        self.lines.gap(1 if alone else 2)

    _end_paragraph = _paragraph

    def _title(self, node: Any) -> None:
        if isinstance(node.parent, nodes.section):
            self.title = self.title or " ".join(node.astext().split())
        self.lines.gap(2)

    def _apart(self, node: Any) -> None:
        self.lines.gap(2)

    _end_title = _rubric = _end_rubric = _apart
    _table = _end_table = _line_block = _end_line_block = _apart
    _definition_list = _end_definition_list = _field_list = _end_field_list = _apart
    _option_list = _end_option_list = _apart

    def _on_its_line(self, node: Any) -> None:
        self.lines.gap()

    _line = _end_line = _term = _definition = _end_definition = _end_field = _on_its_line
    _attribution = _end_attribution = _end_caption = _on_its_line

    def _classifier(self, node: Any) -> None:
        self.lines.exact(": ")

    def _bullet_list(self, node: Any) -> None:
        self.lines.gap(1 if self._lists else 2)
        self._lists.append((node, int(node.get("start", 1))))

    _enumerated_list = _bullet_list

    def _end_bullet_list(self, node: Any) -> None:
        self._lists.pop()
        self.lines.gap(1 if self._lists else 2)

    _end_enumerated_list = _end_bullet_list

    def _list_item(self, node: Any) -> None:
        of, number = self._lists[-1]
        self._lists[-1] = (of, number + 1)
        self.lines.gap()
        self.lines.exact("  " * (len(self._lists) - 1) + _marker(of, number))
        self.lines.begin_item()

    def _end_list_item(self, node: Any) -> None:
        self.lines.end_item()

    def _field(self, node: Any) -> bool | None:
        self.lines.gap()
        return bool(node.children[1].astext().strip())

    def _end_field_name(self, node: Any) -> None:
        self.lines.exact(": ")
        self.lines.begin_item()

    def _option_group(self, node: Any) -> bool:
        self.lines.gap()
        self.lines.exact(", ".join(option.astext() for option in node.children) + "  ")
        self.lines.begin_item()
        return False

    def _label(self, node: Any) -> bool:
        self.lines.gap()
        self.lines.exact(f"[{node.astext()}] ")
        self.lines.begin_item()
        return False

    def _footnote_reference(self, node: Any) -> bool:
        self.lines.exact(f"[{node.astext() or '#' + node.get('refname', '')}]")
        return False

    _citation_reference = _footnote_reference

    def _row(self, node: Any) -> None:
        self.lines.row()

    def _end_row(self, node: Any) -> None:
        self.lines.end_row()

    def _entry(self, node: Any) -> None:
        self.lines.cell(node.parent.children[0] is node)

    def _image(self, node: Any) -> bool:
        if not isinstance(node.parent, nodes.TextElement):
            self.lines.gap(2)
        self.lines.flow(node.get("alt", ""))
        return False

    def _substitution_reference(self, node: Any) -> bool:
        self.lines.flow(self._substituted(node.astext()))
        return False

    def _substituted(self, name: str) -> str:
        definition = self._substitutions.get(" ".join(name.split()))
        if definition is None:
            return name
        text = definition.astext().strip()
        return text if text and len(text) <= _MAX_EXPANSION else name

    def _system_message(self, node: Any) -> None:
        """Not the message; but the source that docutils could not read."""
        kept = [child for child in node.children if isinstance(child, nodes.literal_block)]
        node.children = kept

    def _comment(self, node: Any) -> bool:
        return False

    _substitution_definition = _raw = _pending = _comment


def _method(node: Any) -> str:
    return f"_{type(node).__name__}"


def _nothing(node: Any) -> None:
    """Of no consequence for the text."""


def _marker(of: Any, number: int) -> str:
    if isinstance(of, nodes.bullet_list):
        return "- "
    kind = of.get("enumtype", "arabic")
    shown = str(number)
    if kind.endswith("alpha") and number <= 26:
        shown = chr(number + (96 if kind == "loweralpha" else 64))
    return f"{of.get('prefix', '')}{shown}{of.get('suffix', '.')} "
