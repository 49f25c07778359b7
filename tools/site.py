"""What the site needs beside docs/: hooks of mkdocs, named in mkdocs.yml.

The first page is the README. The reference is made from code: commands from the command line's own
help, settings from their groups, the API from the comments of the protos, licences from what is
installed. Every page lies beside
its HTML as Markdown too, and llms.txt (https://llmstxt.org) names them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from realm.cli.main import app
from realm.settings import FLAT, field_of, variable
from realm.v1 import answer_pb2, corpus_pb2, index_pb2, retrieval_pb2, types_pb2
from realm.v1.comments import COMMENTS
from tools.licences import licences

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
PROTOS: tuple[FileDescriptor, ...] = tuple(
    each.DESCRIPTOR for each in (retrieval_pb2, answer_pb2, corpus_pb2, index_pb2, types_pb2)
)
#: By the numbers that descriptors have for them.
KINDS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
#: Of each page that was built, by the path of its Markdown.
_pages: dict[str, tuple[str, str]] = {}


def on_files(files: Files, config: Any) -> Files:
    made = {
        "index.md": beside("README.md"),
        "changes.md": beside("CHANGELOG.md"),
        "reference/commands.md": commands(),
        "reference/settings.md": settings(),
        "reference/api.md": api(),
        "reference/licences.md": all_licences(),
        "runbooks/index.md": runbooks(),
    }
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """What lies beside docs/ in the repository is named, and no link."""

    def linked(found: re.Match[str]) -> str:
        words, target, _ = found.groups()
        uri = page.file.src_uri
        here = Path("/") if uri in ("index.md", "changes.md") else Path("/docs", uri).parent
        inside = (here / target).resolve().relative_to("/").as_posix()
        known = "://" in target or files.get_file_from_path(inside.removeprefix("docs/"))
        return found[0] if known else f"{words} (`{inside}` in the repository)"

    text = LINK.sub(linked, markdown)
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), page.title)
    _pages[page.file.src_uri] = (str(title), text)
    return text


def on_post_build(config: Any) -> None:
    folder = Path(config["site_dir"])
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}", "", "## Pages", ""]
    for path, (title, text) in sorted(_pages.items(), key=lambda each: each[0] != "index.md"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
        lines.append(f"- [{title}]({path})")
    (folder / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def beside(name: str) -> str:
    """A page beside docs/."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def all_licences() -> str:
    """Of realm, and of each package that a cluster runs on."""
    rows = [(name, *each) for name, each in licences().items()]
    about = (
        "realm is Apache-2.0. Its wheel ships one thing more, the weights of the starter reader, of"
        " which `realm/model/starter/README.md` tells the data and their licences. Packages are"
        " installed beside it, none is part of it; an image holds those of its service, and"
        " `docker build --target sbom` lists them."
    )
    return f"# Licences\n\n{about}\n\n" + _table(("package", "version", "licence"), rows)


def runbooks() -> str:
    names = sorted(each.stem for each in (ROOT / "docs" / "runbooks").glob("*.md"))
    return "# Runbooks\n\n" + "\n".join(f"- [{name}]({name}.md)" for name in names) + "\n"


def commands() -> str:
    """Every command with its arguments and options."""
    return "# Commands\n\n" + "\n\n".join(_commands(typer.main.get_command(app), "realm"))


def _commands(command: Any, path: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, each in sorted(command.commands.items()):
            yield from _commands(each, f"{path} {name}")
        return
    about = " ".join((command.help or "").split())
    rows = [
        (_cell(", ".join(each.opts)), _cell(getattr(each, "help", None) or ""))
        for each in command.params
        if not getattr(each, "hidden", False)
    ]
    yield f"## {path}\n\n{about}\n\n" + _table(("option", "is"), rows)


def settings() -> str:
    """Every setting with its default."""
    fields = {variable(name): field_of(name) for name in FLAT}
    rows = [
        (f"`{name}`", _cell(str(field.default)), _cell(field.description or ""))
        for name, field in fields.items()
    ]
    return "# Settings\n\n" + _table(("variable", "default", "is"), rows)


def api() -> str:
    """Every method and message, with what the protos say of it."""
    parts = ["# API"]
    for file in PROTOS:
        for service in file.services_by_name.values():
            parts.append(f"## {service.name}\n\n{COMMENTS.get(service.full_name, '')}")
            rows = [
                (f"`{each.name}`", f"`{each.input_type.name}`", f"`{each.output_type.name}`",
                 _cell(COMMENTS.get(each.full_name, "")))
                for each in service.methods
            ]  # fmt: skip
            parts.append(_table(("method", "takes", "gives", "does"), rows))
        parts += map(_message, file.message_types_by_name.values())
    return "\n\n".join(parts)


def _message(message: Descriptor) -> str:
    rows = [
        (f"`{each.name}`", _kind(each), _cell(COMMENTS.get(each.full_name, "")))
        for each in message.fields
    ]
    about = COMMENTS.get(message.full_name, "")
    return f"### {message.name}\n\n{about}\n\n" + _table(("field", "kind", "is"), rows)


def _kind(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    return f"`{named.name if named else KINDS[field.type]}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
