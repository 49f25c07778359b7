"""The default corpus: the documentation that every Python carries.

Language topics from `pydoc_data`, docstrings of the public standard library. Sources are parsed,
never imported; only the C parts, which have no source, are asked, and from a list of modules
that do nothing on import.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from realm.corpus.documents import Document
from realm.corpus.plain_text import UNDERLINE, PlainText, unwrap

# A shorter docstring says too little to be found: it goes into its class's or module's document …
_SHORTEST_DOCSTRING = 150
# … and a shorter document is left out.
_SHORTEST_DOCUMENT = 80

_SKIPPED = frozenset(
    (
        *("antigravity", "distutils", "encodings", "ensurepip", "idlelib", "lib2to3"),
        *("pydoc_data", "test", "tests", "this", "turtledemo"),
    )
)
_C_MODULES = (
    *("array", "atexit", "binascii", "builtins", "cmath", "datetime", "decimal", "errno"),
    *("faulthandler", "functools", "gc", "io", "itertools", "marshal", "math", "operator"),
    *("select", "struct", "sys", "time", "unicodedata", "zlib"),
)


@dataclass(slots=True)
class _Entry:
    """A module, class, function or topic on its way to becoming a document."""

    module: str
    path: str  # inside the module, dotted; empty for the module itself
    signature: str
    doc: str
    members: list[_Entry] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.module}.{self.path}" if self.path else self.module

    def move(self, module: str) -> None:
        """Into the module by which people know it."""
        self.module = module
        for member in self.members:
            member.move(module)


def python_documents() -> Iterator[Document]:
    """Yields the documentation of the running Python, in order of id.

    Ids are `python/topics/<topic>`, `python/<module>` and `python/<module>/<Class.method>`.
    """
    documents: dict[str, Document] = {}
    for document in [*_topics(), *_library()]:
        documents.setdefault(document.id, document)
    yield from (documents[name] for name in sorted(documents))


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics  # half a megabyte of text: only when asked for

    for topic, raw in topics.items():
        plain = read_docstring(raw)
        if plain.text.strip():
            title = (plain.title or topic).replace('"', "")
            yield Document(f"python/topics/{topic}", title, plain.text, {"kind": "topic"})


def _library() -> Iterator[Document]:
    sources = dict(_sources())
    exports = _exports(sources)
    for name, file in sources.items():
        tree = _tree(file)
        entry = _parsed(name, tree)
        if (name, "*") in exports:
            exports.update({(name, offered): exports[name, "*"] for offered in _offered(tree)})
        for member in entry.members:
            member.move(exports.get((name, member.path), name))
        if _is_public(name):
            yield from _documents(entry)
        else:
            yield from (one for e in entry.members if e.module != name for one in _documents(e))
    for name in _C_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:  # a Python built without it
            continue
        yield from _documents(_inspected(module))


def _exports(sources: dict[str, Path]) -> dict[tuple[str, str], str]:
    """(module, name or *) of what a package offers as its own, by import -> the package.

    People know `json.JSONEncoder`, and not `json.encoder.JSONEncoder`.
    """
    exports: dict[tuple[str, str], str] = {}
    for package, file in sources.items():
        if file.name != "__init__.py":
            continue
        for node in _tree(file).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                source = f"{package}.{node.module}" if node.level == 1 else node.module
                if source.startswith(f"{package}."):
                    exports.update({(source, alias.name): package for alias in node.names})
    return exports


def _offered(tree: ast.Module) -> list[str]:
    """What `import *` takes from a module whose `__all__` is written out."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "__all__"
            and isinstance(node.value, ast.Tuple | ast.List)
        ):
            values = [item.value for item in node.value.elts if isinstance(item, ast.Constant)]
            return [value for value in values if isinstance(value, str)]
    return []


def _documents(entry: _Entry) -> Iterator[Document]:
    """The entry's own document, with its short members in it, and those of its long members."""
    parts = [unwrap(entry.doc)] if entry.doc else []
    for member in entry.members:
        if len(member.doc) >= _SHORTEST_DOCSTRING or member.members:
            yield from _documents(member)
        elif member.doc:
            parts.append(f"{member.signature}: {' '.join(member.doc.split())}")
    text = "\n\n".join(parts)
    if len(text) < _SHORTEST_DOCUMENT:
        return
    where = f"python/{entry.module}/{entry.path}" if entry.path else f"python/{entry.module}"
    head = f"{entry.signature}\n\n" if entry.path else ""
    kind = (
        "module" if not entry.path else "class" if entry.signature[:6] == "class " else "function"
    )
    yield Document(where, entry.name, head + text, {"kind": kind})


def _sources() -> Iterator[tuple[str, Path]]:
    """Dotted names and files of the library's modules, those private to a package too."""
    library = Path(sysconfig.get_path("stdlib"))
    for top in sorted(sys.stdlib_module_names):
        if not _is_public(top):
            continue
        for file in [library / f"{top}.py", *sorted((library / top).rglob("*.py"))]:
            parts = file.relative_to(library).with_suffix("").parts
            if parts[-1] == "__init__":
                parts = parts[:-1]
            if file.is_file() and all(map(_is_public, parts[:-1])) and _is_wanted(parts[-1]):
                yield ".".join(parts), file


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), str(file))


def _is_wanted(part: str) -> bool:
    return part not in _SKIPPED and not part.startswith("__")


def _is_public(name: str) -> bool:
    part = name.rpartition(".")[2]
    return not part.startswith("_") and part not in _SKIPPED


def _parsed(module: str, tree: ast.Module) -> _Entry:
    entry = _Entry(module, "", module, _cleaned(ast.get_docstring(tree)))
    entry.members = _defined(tree.body, module, "")
    return entry


def _defined(body: list[ast.stmt], module: str, within: str) -> list[_Entry]:
    """Public classes and functions among these statements, with their members."""
    entries: list[_Entry] = []
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            entries += _defined(node.body, module, within)
        elif isinstance(node, ast.ClassDef) and _is_public(node.name):
            path = within + node.name
            bases = ", ".join(ast.unparse(base) for base in node.bases)
            signature = f"class {path}({bases})" if bases else f"class {path}"
            entry = _Entry(module, path, signature, _cleaned(ast.get_docstring(node)))
            entry.members = _defined(node.body, module, f"{path}.")
            entries.append(entry)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            _is_public(node.name) or node.name == "__init__"
        ):
            path = within + node.name
            doc = _cleaned(ast.get_docstring(node))
            if doc:
                entries.append(_Entry(module, path, f"{path}({ast.unparse(node.args)})", doc))
    return entries


def _inspected(module: ModuleType) -> _Entry:
    entry = _Entry(module.__name__, "", module.__name__, _cleaned(inspect.getdoc(module)))
    for name, value in sorted(vars(module).items()):
        # Programs put functions of their own in place of hooks: the corpus must not depend on it.
        wanted = _is_public(name) and not name.endswith("hook")
        if wanted and (inspect.isclass(value) or inspect.isbuiltin(value)):
            entry.members.append(_of_object(module.__name__, name, value))
    return entry


def _of_object(module: str, path: str, value: object) -> _Entry:
    prefix = "class " if inspect.isclass(value) else ""
    entry = _Entry(module, path, f"{prefix}{path}{_signature(value)}", _own_doc(value))
    if inspect.isclass(value):
        entry.members = [
            _of_object(module, f"{path}.{name}", member)
            for name, member in sorted(vars(value).items())
            if _is_public(name) and inspect.isroutine(member)
        ]
    return entry


def _own_doc(value: object) -> str:
    # inspect.getdoc would give a class the docstring of its base.
    doc = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    return _cleaned(inspect.cleandoc(doc) if isinstance(doc, str) else None)


def _signature(value: object) -> str:
    try:
        return str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, AttributeError, NameError):
        # Many C functions have none, or one whose defaults cannot be evaluated.
        return "" if inspect.isclass(value) else "(…)"


def _cleaned(doc: str | None) -> str:
    return read_docstring(doc).text.strip() if doc else ""


# Docstrings and `pydoc` topics by a few rules: most use some of reStructuredText's marks and break
# its rules (`b'\\n'`, `*args`). Its parser loses characters of them, and takes minutes for
# Python's own. Each pattern is bounded.
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
