"""Documents out of files: JSON Lines, and folders of Markdown, reStructuredText, text, HTML.

A bad line or file is reported as a `Problem` and the rest goes on. Everything streams: of a
large file only one line at a time is held, of all ids only their hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from realm.corpus.documents import Document, check_document, shown
from realm.corpus.plain_text import PlainText, from_html, from_markdown, from_rst, from_text
from realm.errors import InvalidInput

_READERS: dict[str, Callable[[str], PlainText]] = {
    ".md": from_markdown,
    ".markdown": from_markdown,
    ".rst": from_rst,
    ".txt": from_text,
    ".html": from_html,
    ".htm": from_html,
}
_JSON_LINES = (".jsonl", ".ndjson")
_REQUIRED = ("id", "title", "text")
_KNOWN = frozenset([*_REQUIRED, "metadata"])

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


def read_documents(paths: Iterable[Path | str], *, max_bytes: int) -> Iterator[Document | Problem]:
    """Reads documents from files and folders, in the order given; folders in order of name.

    A folder's files get their path inside it as id; a file named by itself gets its name.

    :param max_bytes: the longest text of one document, in bytes of UTF-8.
    :raises InvalidInput: at once, if a path is missing or is a file of an unknown kind.
    """
    checked = [_checked(Path(path)) for path in paths]
    return _Import(max_bytes).run(checked)


def _checked(path: Path) -> Path:
    if not path.exists():
        raise InvalidInput(f"{path} does not exist: give a file or a folder", path=path)
    suffix = path.suffix.lower()
    if not path.is_dir() and suffix not in _READERS and suffix not in _JSON_LINES:
        known = ", ".join([*_JSON_LINES, *_READERS])
        raise InvalidInput(f"{path} is of an unknown kind: give a folder or {known}", path=path)
    return path


class _Import:
    """One run over all paths; remembers where it saw each id."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.max_raw = max_bytes * _RAW_FACTOR + _RAW_EXTRA
        self._files: list[Path] = []
        self._seen: dict[int, tuple[int, int]] = {}  # hash of an id -> file, line (0: no line)

    def run(self, paths: list[Path]) -> Iterator[Document | Problem]:
        for path in paths:
            if path.is_dir():
                yield from self._folder(path)
            elif path.suffix.lower() in _JSON_LINES:
                yield from self._json_lines(path)
            else:
                yield self._file(path, path.name)

    def _json_lines(self, path: Path) -> Iterator[Document | Problem]:
        self._files.append(path)
        try:
            with path.open("rb") as file:
                for number, line in self._lines(file):
                    if line is None:
                        message = f"the line has more than {self.max_raw} bytes: split the document"
                        yield Problem(path, number, message)
                    elif line.strip():
                        yield self._guarded(path, number, partial(_from_json, line))
        except OSError as error:
            yield Problem(path, None, f"cannot be read: {error.strerror}")

    def _lines(self, file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
        """Numbered lines; None for one that is too long, which is skipped without holding it."""
        number = 0
        while line := file.readline(self.max_raw + 1):
            number += 1
            too_long = len(line) > self.max_raw
            while too_long and line and not line.endswith(b"\n"):
                line = file.readline(self.max_raw)
            yield number, None if too_long else line.removeprefix(b"\xef\xbb\xbf")

    def _folder(self, folder: Path) -> Iterator[Document | Problem]:
        problems: list[Problem] = []
        found = False
        # Links to folders are not followed, so that a loop of links ends.
        for here, folders, names in os.walk(folder, onerror=lambda e: problems.append(_unread(e))):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from _drain(problems)
            for name in sorted(names):
                path = Path(here, name)
                if not name.startswith(".") and path.suffix.lower() in _READERS:
                    found = True
                    yield self._file(path, path.relative_to(folder).as_posix())
        yield from _drain(problems)
        if not found:
            kinds = ", ".join(_READERS)
            yield Problem(folder, None, f"the folder has no {kinds} (name .jsonl files themselves)")

    def _file(self, path: Path, name: str) -> Document | Problem:
        self._files.append(path)
        return self._guarded(path, None, partial(self._from_file, path, name))

    def _from_file(self, path: Path, name: str) -> Document:
        if not path.is_file():
            raise InvalidInput("not a regular file, or a broken link")
        size = path.stat().st_size
        if size > self.max_raw:
            raise InvalidInput(f"the file has {size} bytes, the limit is {self.max_raw}")
        plain = _READERS[path.suffix.lower()](path.read_bytes().decode("utf-8-sig"))
        return Document(name, plain.title or path.stem, plain.text)

    def _guarded(
        self, path: Path, line: int | None, make: Callable[[], Document]
    ) -> Document | Problem:
        try:
            document = check_document(make(), max_bytes=self.max_bytes)
            self._remember(document.id, line)
        except UnicodeDecodeError as error:
            return Problem(path, line, f"not UTF-8 at byte {error.start}: convert it")
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


def _from_json(line: bytes) -> Document:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InvalidInput("not a JSON object with id, title and text")
    missing = [name for name in _REQUIRED if name not in row]
    if missing:
        raise InvalidInput(f"{' and '.join(missing)} missing")
    unknown = sorted(row.keys() - _KNOWN)
    if unknown:
        names = ", ".join(shown(name) for name in unknown[:5])
        raise InvalidInput(f"unknown field {names}: remove it or put it into metadata")
    return Document(row["id"], row["title"], row["text"], row.get("metadata", {}))


def _unread(error: OSError) -> Problem:
    return Problem(Path(str(error.filename)), None, f"cannot be read: {error.strerror}")


def _drain(problems: list[Problem]) -> Iterator[Problem]:
    while problems:
        yield problems.pop(0)
