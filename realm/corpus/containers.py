"""Files that hold many documents, by their kind; the modules of `realm.corpus.formats` add theirs.

They are read as streams, compressed or not: of a file only one document at a time is held.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from realm.corpus.documents import Document
from realm.corpus.plain_text import marked

#: A document's place in its file (a line, a row, a page; from 1), and what makes it, or raises
#: InvalidInput saying why it cannot.
Found = tuple[int, Callable[[], Document]]


@dataclass(frozen=True, slots=True)
class Asked:
    """How rows are read: `longest` in bytes is one of them; `columns` says by which other name a
    field of a document goes in them. `encoding` is that of texts without a byte order mark."""

    longest: int
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: codecs.CodecInfo | None = None


Container = Callable[[BinaryIO, Asked], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Folder:
    """Of documents. `origin` says whence it is, in place of where it lies for the moment."""

    path: Path
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Remote:
    """A document that is elsewhere, fetched when its turn comes."""

    name: str
    make: Callable[[], Document]


#: What something that is named consists of: files of many documents, and these.
Part = Path | Folder | Remote

#: Readers by suffix.
CONTAINERS: dict[str, Container] = {}
#: What a folder of a known layout is read as: its containers, or None if it is no such folder.
LAYOUTS: list[Callable[[Path], list[Path] | None]] = []
#: What a name that is no path is read as, by what stands before its colon; of files and pages only
#: what is no longer than so many bytes.
NAMED: dict[str, Callable[[str, int], Iterable[Part]]] = {}

_PACKED: Mapping[str, Callable[..., Any]] = {
    ".bz2": bz2.open,
    ".gz": gzip.open,
    ".xz": lzma.open,
}
#: What damaged ones raise.
UNREADABLE = (OSError, EOFError, lzma.LZMAError)


def container(*suffixes: str) -> Callable[[Container], Container]:
    """Registers the reader of files with these suffixes."""

    def register(read: Container) -> Container:
        CONTAINERS.update(dict.fromkeys(suffixes, read))
        return read

    return register


def kind_of(path: Path) -> str:
    """The suffix that says what a file is, once it is unpacked."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in _PACKED else suffix


def opened(path: Path) -> BinaryIO:
    """The file, unpacked."""
    found: BinaryIO = _PACKED.get(path.suffix.lower(), open)(path, "rb")
    return found


def as_text(file: Any, asked: Asked) -> TextIO:
    """In the encoding of its byte order mark, else as asked, else UTF-8. What is not text is found
    in its line, and the lines behind it are read."""
    codec = marked(file.peek(4)) or asked.encoding
    name = codec.name if codec else "utf-8"
    return io.TextIOWrapper(file, name, errors="surrogateescape", newline="")
