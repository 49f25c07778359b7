"""Documents out of files and folders of every kind that `realm.corpus.formats` reads.

A bad line or file is reported as a `Problem` and the rest goes on; files of other kinds are
counted. Everything streams: of a large file only one document at a time is held, of all ids none
beyond a bound.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from realm.corpus.containers import (
    LAYOUTS,
    NAMED,
    UNREADABLE,
    Asked,
    Folder,
    Remote,
    kind_of,
    opened,
)
from realm.corpus.documents import Document, check_document, normalise_id, shown
from realm.corpus.formats import containers, readers
from realm.corpus.known_ids import KnownIds
from realm.corpus.plain_text import ENCODED, find_encoding, in_utf8
from realm.errors import InvalidInput, RealmError

#: The metadata of a document that is a file: where it lay, so that another's is told apart.
SOURCE = "source"

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


#: Whether a file of a folder needs no reading, by its path and its document's id.
Skip = Callable[[Path, str], bool]


def read_documents(
    paths: Iterable[Path | str],
    *,
    max_bytes: int,
    prefix: str = "",
    columns: Mapping[str, str] | None = None,
    encoding: str = "",
    skip: Skip = lambda path, document_id: False,
) -> Reading:
    """Reads documents from files and folders, in the order given; folders in order of name.

    A folder's files get their path inside it as id; a file named by itself gets its name.

    :param paths: or names, such as `hf:NAME`.
    :param max_bytes: the longest text of one document, in bytes of UTF-8.
    :param prefix: a folder's name before each file's id; ids in files of many documents stay as
        they are.
    :param columns: by which other name a field of a document goes in such files.
    :param encoding: of texts without a byte order mark; empty: what they declare, else UTF-8.
    :raises InvalidInput: at once, if a path is missing or is a file of an unknown kind, or the
        encoding is unknown.
    """
    longest = max_bytes * _RAW_FACTOR + _RAW_EXTRA
    asked = Asked(longest, columns or {}, find_encoding(encoding))
    return Reading([_checked(Path(path)) for path in paths], max_bytes, asked, prefix, skip)


def named(path: Path) -> tuple[str, str] | None:
    """What it names where it is no path: `hf` and the dataset of `hf:NAME`."""
    containers()
    scheme, colon, name = str(path).partition(":")
    return (scheme, name) if colon and scheme in NAMED and not path.exists() else None


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
    if named(path):
        return path
    if not path.exists():
        raise InvalidInput(f"{path} does not exist: give a file or a folder", path=path)
    if (
        not path.is_dir()
        and path.suffix.lower() not in readers()
        and kind_of(path) not in containers()
    ):
        known = ", ".join([*containers(), *sorted(readers())])
        raise InvalidInput(f"{path} is of an unknown kind: give a folder or {known}", path=path)
    return path


class Reading(Iterator[Document | Problem]):
    """Documents and problems of one run over all paths, read as they are asked for."""

    def __init__(
        self, paths: list[Path], max_bytes: int, asked: Asked, prefix: str, skip: Skip
    ) -> None:
        #: Files in the folders read so far that have no reader, by kind; hidden ones aside.
        self.skipped: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._asked = asked
        self._prefix = prefix.rstrip("/")
        self._skip = skip
        self._files: list[Path] = []
        self._known = KnownIds()
        self._found = chain.from_iterable(map(self._path, paths))

    def __next__(self) -> Document | Problem:
        return next(self._found)

    @property
    def at(self) -> Path | None:
        """What is read now."""
        return self._files[-1] if self._files else None

    def _path(self, path: Path) -> Iterator[Document | Problem]:
        if known := named(path):
            yield from self._named(path, *known)
        elif path.is_dir():
            inside = next((found for layout in LAYOUTS if (found := layout(path))), None)
            if inside is None:
                yield from self._folder(Folder(path))
            else:
                yield from chain.from_iterable(map(self._container, inside))
        elif kind_of(path) in containers():
            yield from self._container(path)
        else:
            yield self._file(path, self._id(path.name))

    def _named(self, path: Path, scheme: str, name: str) -> Iterator[Document | Problem]:
        try:
            for each in NAMED[scheme](name, self._asked.longest):
                if isinstance(each, Folder):
                    yield from self._folder(each)
                elif isinstance(each, Remote):
                    self._files.append(Path(each.name))
                    yield self._guarded(Path(each.name), None, each.make)
                else:
                    yield from self._container(each)
        except RealmError as error:
            yield Problem(path, None, error.message)

    def _container(self, path: Path) -> Iterator[Document | Problem]:
        self._files.append(path)
        number = 0
        try:
            with opened(path) as file:
                for number, make in containers()[kind_of(path)](file, self._asked):
                    yield self._guarded(path, number, make)
        except InvalidInput as error:
            yield Problem(path, number or None, error.message)
        except UnicodeDecodeError as error:
            yield Problem(path, number + 1, f"not {error.encoding.upper()}: nothing behind is read")
        except UNREADABLE as error:
            why = getattr(error, "strerror", None) or str(error)
            yield Problem(path, number or None, f"cannot be read: {why}")

    def _folder(self, given: Folder) -> Iterator[Document | Problem]:
        folder = given.path
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
                    inside = path.relative_to(folder).as_posix()
                    document_id = self._id(inside)
                    if not self._skip(path, document_id):
                        source = f"{given.origin}/{inside}" if given.origin else ""
                        yield self._file(path, document_id, source)
                else:
                    self.skipped[path.suffix.lower() or "without a suffix"] += 1
        yield from _drain(problems)
        if not found:
            kinds = ", ".join(sorted(readers()))
            yield Problem(
                folder, None, f"the folder has no {kinds} (name .jsonl and .csv files themselves)"
            )

    def _id(self, name: str) -> str:
        """One form of each name: file systems keep ü in one character or in two."""
        return normalise_id(f"{self._prefix}/{name}" if self._prefix else name)

    def _file(self, path: Path, document_id: str, source: str = "") -> Document | Problem:
        """:param source: where it is from; empty: from where it lies."""
        self._files.append(path)
        return self._guarded(path, None, partial(self._from_file, path, document_id, source))

    def _from_file(self, path: Path, name: str, source: str) -> Document:
        if not path.is_file():
            raise InvalidInput("not a regular file, or a broken link")
        size = path.stat().st_size
        if size > self._asked.longest:
            raise InvalidInput(f"the file has {size} bytes, the limit is {self._asked.longest}")
        data, suffix = path.read_bytes(), path.suffix.lower()
        if suffix in ENCODED:
            data = in_utf8(data, self._asked.encoding)
        try:
            plain = readers()[suffix](data)
        except InvalidInput:
            raise
        except Exception as error:  # parsers are others' code: what one cannot read stops nothing
            raise InvalidInput(f"its parser fails: {error!r}") from error
        title = plain.title or normalise_id(path.stem)
        return Document(name, title, plain.text, {SOURCE: source or str(path.resolve())})

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
        here = (len(self._files) - 1, line or 0)  # 0: the file itself
        first_file, first_line = self._known.first(document_id, *here)
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
