"""Generates the gRPC stubs from `protos/` into `realm/`; `--check` only compares.

The import path equals the proto path, so `realm/v1/types.proto` becomes `realm.v1.types_pb2`.
`realm.v1.comments` has what the protos of clients say about each thing, which stubs leave out.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PACKAGES = ("realm/v1", "realm/internal/v1")
COMMENTS = Path("realm/v1/comments.py")


def generate(target: Path) -> list[Path]:
    """Writes all stubs under `target`; returns their paths relative to it."""
    outputs = (f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python"))
    _compile("realm", *outputs)
    for package in ("realm/internal", *PACKAGES):
        (target / package / "__init__.py").touch()
    (target / COMMENTS).write_text(_comments_module(), encoding="utf-8")
    return sorted([*(path.relative_to(target) for path in target.rglob("*_pb2*.py*")), COMMENTS])


def _compile(folder: str, *options: str) -> None:
    sources = sorted((ROOT / "protos" / folder).rglob("*.proto"))
    includes = (ROOT / "protos", resources.files("grpc_tools") / "_proto")
    status = protoc.main(
        ["protoc", *(f"-I{each}" for each in includes), *options, *map(str, sources)]
    )
    if status:
        raise SystemExit(status)


def _comments_module() -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "protos.bin"
        _compile("realm/v1", f"--descriptor_set_out={file}", "--include_source_info")
        found = FileDescriptorSet.FromString(file.read_bytes())
    said = dict(pair for each in found.file for pair in _comments(each))
    lines = "".join(f"    {name!r}: {said[name]!r},\n" for name in sorted(said))
    docstring = (
        "What the protos say about each message, field, enum, service and method, by full name."
    )
    return f'"""{docstring} Made by `make protos`."""\n\nCOMMENTS: dict[str, str] = {{\n{lines}}}\n'


def _comments(file: Any) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        words = " ".join(location.leading_comments.split())
        if words and len(location.path) % 2 == 0:
            yield ".".join([file.package, *_names(file, location.path)]), words


def _names(described: Any, path: Sequence[int]) -> Iterator[str]:
    """The names on the way to what a path of field numbers and places leads to."""
    if path:
        field = described.DESCRIPTOR.fields_by_number[path[0]]
        inner = getattr(described, field.name)[path[1]]
        yield inner.name
        yield from _names(inner, path[2:])


def drifted() -> list[str]:
    """Names the committed stubs that differ from what the protos give."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        kept = {
            path.relative_to(ROOT)
            for package in PACKAGES
            for path in (ROOT / package).glob("*_pb2*.py*")
        } | {COMMENTS}
        changed = {
            path
            for path in fresh
            if not (ROOT / path).exists()
            or (ROOT / path).read_bytes() != (Path(folder) / path).read_bytes()
        }
        return sorted(str(path) for path in changed | (kept - set(fresh)))


if __name__ == "__main__":
    if "--check" in sys.argv:
        if stale := drifted():
            raise SystemExit("stubs differ from protos (run `make protos`): " + ", ".join(stale))
    else:
        generate(ROOT)
