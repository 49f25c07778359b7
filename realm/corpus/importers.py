"""Documents out of files: JSON Lines, CSV, and files or folders of every kind that has a reader.

A bad line or file is reported as a `Problem` and the rest goes on; files of other kinds are
counted. Everything streams: of a large file only one line at a time is held, of all ids only
their hashes.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NoReturn, TextIO

from realm.corpus.documents import Document, check_document, normalise_id, shown
from realm.corpus.formats import readers
from realm.corpus.plain_text import marked
from realm.corpus.rows import from_cells, from_json, read_table
from realm.errors import InvalidInput

#: The metadata of a document that is a file: where it lay, so that another's is told apart.
SOURCE = "source"

_JSON_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")
_ROWS = (*_JSON_LINES, *_TABLES)
_SHOWN_KINDS = 10

# JSON may write one byte as six ("\\u0041"); markup is several times the text that it marks.
_RAW_FACTOR = 6
_RAW_EXTRA = 1 << 20


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not imported, where it lies (lines count from 1), and why."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        # A file name need not be Unicode, but a message must be printable.
        return f"{place}: {self.message}".encode("utf-8", "backslashreplace").decode()


def read_documents(paths: Iterable[Path | str], *, max_bytes: int, prefix: str = "") -> Reading:
    """Reads documents from files and folders, in the order given; folders in order of name.

    A folder's files get their path inside it as id; a file named by itself gets its name.

    :param max_bytes: the longest text of one document, in bytes of UTF-8.
    :param prefix: a folder's name before each file's id; ids in JSON Lines and CSV stay as they
        are.
    :raises InvalidInput: at once, if a path is missing or is a file of an unknown kind.
    """
    return Reading([_checked(Path(path)) for path in paths], max_bytes, prefix.rstrip("/"))


def describe_skipped(skipped: Counter[str]) -> str:
    """How many files of which kinds were not read; nothing if all were."""
    if not skipped:
        return ""
    ranked = sorted(skipped.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {kind}" for kind, count in ranked[:_SHOWN_KINDS]]
    if others := sum(count for _, count in ranked[_SHOWN_KINDS:]):
        kinds.append(f"{others} of other kinds")
    return f"{skipped.total()} files not read: {', '.join(kinds)}"


def _checked(path: Path) -> Path:
    if not path.exists():
        raise InvalidInput(f"{path} does not exist: give a file or a folder", path=path)
    suffix = path.suffix.lower()
    if not path.is_dir() and suffix not in readers() and suffix not in _ROWS:
        known = ", ".join([*_ROWS, *sorted(readers())])
        raise InvalidInput(f"{path} is of an unknown kind: give a folder or {known}", path=path)
    return path


class Reading(Iterator[Document | Problem]):
    """Documents and problems of one run over all paths, read as they are asked for."""

    def __init__(self, paths: list[Path], max_bytes: int, prefix: str) -> None:
        #: Files in the folders read so far that have no reader, by kind; hidden ones aside.
        self.skipped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._max_raw = max_bytes * _RAW_FACTOR + _RAW_EXTRA
        self._prefix = prefix
        self._files: list[Path] = []
        self._seen: dict[int, tuple[int, int]] = {}  # hash of an id -> file, line (0: no line)
        self._found = chain.from_iterable(map(self._path, paths))

    def __next__(self) -> Document | Problem:
        return next(self._found)

    def _path(self, path: Path) -> Iterator[Document | Problem]:
        if path.is_dir():
            yield from self._folder(path)
        elif path.suffix.lower() in _ROWS:
            yield from self._rows(path)
        else:
            yield self._file(path, path.name)

    def _rows(self, path: Path) -> Iterator[Document | Problem]:
        self._files.append(path)
        read = self._table if path.suffix.lower() in _TABLES else self._json_lines
        number = 0
        try:
            with path.open("rb") as file:
                codec = marked(file.peek(4))
                # What is not text is found in its line, and the lines behind it are read.
                encoding = codec.name if codec else "utf-8"
                text = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
                for number, make in read(text):
                    yield self._guarded(path, number, make)
        except UnicodeDecodeError as error:
            yield Problem(path, number + 1, f"not {error.encoding.upper()}: nothing behind is read")
        except OSError as error:
            yield Problem(path, None, f"cannot be read: {error.strerror}")

    def _json_lines(self, file: TextIO) -> Iterator[tuple[int, Callable[[], Document]]]:
        for number, line in self._lines(file):
            if line is None:
                yield number, partial(_too_long, self._max_raw)
            elif line.strip():
                yield number, partial(from_json, line)

    def _table(self, file: TextIO) -> Iterator[tuple[int, Callable[[], Document]]]:
        for number, row in read_table(file, self._max_raw):
            yield number, partial(from_cells, row)

    def _lines(self, file: TextIO) -> Iterator[tuple[int, str | None]]:
        """Numbered lines; None for one that is too long, which is skipped without holding it."""
        number = 0
        while line := file.readline(self._max_raw + 1):
            number += 1
            too_long = len(line) > self._max_raw
            while too_long and line and not line.endswith("\n"):
                line = file.readline(self._max_raw)
            yield number, None if too_long else line.removeprefix("\ufeff")

    def _folder(self, folder: Path) -> Iterator[Document | Problem]:
        problems: list[Problem] = []
        found = False
        # Links to folders are not followed, so that a loop of links ends.
        for here, folders, names in os.walk(folder, onerror=lambda e: problems.append(_unread(e))):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                if Path(here, name).is_symlink():
                    self.skipped["link to a folder"] += 1
            yield from _drain(problems)
            for name in sorted(names):
                path = Path(here, name)
                if name.startswith("."):
                    continue
                if path.suffix.lower() in readers():
                    found = True
                    yield self._file(path, path.relative_to(folder).as_posix())
                else:
                    self.skipped[path.suffix.lower() or "without a suffix"] += 1
        yield from _drain(problems)
        if not found:
            kinds = ", ".join(sorted(readers()))
            yield Problem(
                folder, None, f"the folder has no {kinds} (name .jsonl and .csv files themselves)"
            )

    def _file(self, path: Path, name: str) -> Document | Problem:
        self._files.append(path)
        # One form of each name: file systems keep ü in one character or in two.
        name = normalise_id(f"{self._prefix}/{name}" if self._prefix else name)
        return self._guarded(path, None, partial(self._from_file, path, name))

    def _from_file(self, path: Path, name: str) -> Document:
        if not path.is_file():
            raise InvalidInput("not a regular file, or a broken link")
        size = path.stat().st_size
        if size > self._max_raw:
            raise InvalidInput(f"the file has {size} bytes, the limit is {self._max_raw}")
        data = path.read_bytes()
        try:
            plain = readers()[path.suffix.lower()](data)
        except InvalidInput:
            raise
        except Exception as error:  # parsers are others' code: what one cannot read stops nothing
            raise InvalidInput(f"its parser fails: {error!r}") from error
        title = plain.title or normalise_id(path.stem)
        return Document(name, title, plain.text, {SOURCE: str(path.resolve())})

    def _guarded(
        self, path: Path, line: int | None, make: Callable[[], Document]
    ) -> Document | Problem:
        try:
            document = check_document(make(), max_bytes=self._max_bytes)
            self._remember(document.id, line)
        except OSError as error:
            return Problem(path, line, f"cannot be read: {error.strerror}")
        except InvalidInput as error:
            return Problem(path, line, error.message)
        return document

    def _remember(self, document_id: str, line: int | None) -> None:
        digest = hashlib.blake2b(document_id.encode(), digest_size=8).digest()
        here = (len(self._files) - 1, line or 0)
        first_file, first_line = self._seen.setdefault(int.from_bytes(digest, "big"), here)
        if (first_file, first_line) != here:
            place = f"line {first_line} of " if first_line else ""
            place += str(self._files[first_file])
            raise InvalidInput(
                f"document id {shown(document_id)} was given before, in {place}: "
                "only the first is imported"
            )


def _unread(error: OSError) -> Problem:
    return Problem(Path(str(error.filename)), None, f"cannot be read: {error.strerror}")


def _drain(problems: list[Problem]) -> Iterator[Problem]:
    while problems:
        yield problems.pop(0)


def _too_long(limit: int) -> NoReturn:
    raise InvalidInput(f"the line has more than {limit} bytes: split the document")
