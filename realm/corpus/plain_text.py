"""What is common to readers of files: decoding, the list of readers, hard-wrapped paragraphs."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

from realm.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class PlainText:
    """A text without its markup, and its title if it has one."""

    title: str | None
    text: str


#: Readers by suffix; the modules of `realm.corpus.formats` add theirs.
READERS: dict[str, Callable[[bytes], PlainText]] = {}
#: The suffixes of files that have an encoding.
ENCODED: set[str] = set()

Reader = Callable[[bytes], PlainText]
TextReader = Callable[[str], PlainText]


def reader(*suffixes: str, encoded: bool = False) -> Callable[[Reader], Reader]:
    """Registers the reader of files with these suffixes; it raises InvalidInput if it cannot.

    :param encoded: the files are text in some encoding, which the reader finds out.
    """

    def register(read: Reader) -> Reader:
        READERS.update(dict.fromkeys(suffixes, read))
        if encoded:
            ENCODED.update(suffixes)
        return read

    return register


def text_reader(*suffixes: str) -> Callable[[TextReader], TextReader]:
    """As `reader`, of text with "\\n" at line ends and without a byte order mark."""

    def register(read: TextReader) -> TextReader:
        reader(*suffixes, encoded=True)(lambda data: read(decode(data)))
        return read

    return register


MARKS = (
    # UTF-32's begins like UTF-16's, so it comes first.
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LINE_END = re.compile(r"\r\n?")


def decode(data: bytes, declared: codecs.CodecInfo | None = None) -> str:
    """Decodes by byte order mark, else as declared, else as UTF-8. Line ends become "\\n".

    Encodings are not guessed: nobody would notice a wrong guess.

    :raises InvalidInput: if the bytes are not in that encoding.
    """
    codec = marked(data) or declared or codecs.lookup("utf-8")
    try:
        return _LINE_END.sub("\n", without_mark(codec.decode(data)[0]))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"not {codec.name.upper()} at byte {error.start}: name its encoding, or convert it to"
            " UTF-8"
        ) from error


def in_utf8(data: bytes, told: codecs.CodecInfo | None) -> bytes:
    """What is told from outside counts before what a text declares of itself; a byte order mark
    counts before both.

    :raises InvalidInput: if the bytes are not in that encoding.
    """
    if told is None or marked(data):
        return data
    return codecs.BOM_UTF8 + decode(data, told).encode()


def find_encoding(name: str) -> codecs.CodecInfo | None:
    """None for no name.

    :raises InvalidInput: if Python knows no such encoding of text.
    """
    if not name:
        return None
    try:
        "".encode(name)  # refuses what encodes no text, such as base64
    except LookupError as error:
        raise InvalidInput(f"encoding {name} is unknown", field="encoding") from error
    return codecs.lookup(name)


def marked(data: bytes) -> codecs.CodecInfo | None:
    """The encoding that a byte order mark names."""
    found = (name for mark, name in MARKS if data.startswith(mark))
    return next(map(codecs.lookup, found), None)


def without_mark(text: str) -> str:
    return text.removeprefix("\ufeff")


# Shorter lines were broken on purpose: lists, verses, addresses.
_SHORTEST_WRAPPED = 45
_LIST_ITEM = re.compile(r"(?:[-*+•]|\(?(?:\d{1,3}|[A-Za-z])[.)])\s+")
_NOT_PROSE = re.compile(r"::=|>>>|\.\.\. |[{}|\\]|;$|[^=!<>]=[^=]|\S {3,}\S")
UNDERLINE = re.compile(r"([=\-`:.'\"~^_*+#<>!])\1{2,200}\s*")


@text_reader(".txt")
def read_text(text: str) -> PlainText:
    """Plain text has no headings; its paragraphs are unwrapped."""
    return PlainText(None, unwrap(text))


def unwrap(text: str) -> str:
    """Joins the lines of a hard-wrapped paragraph; lists, code and tables keep theirs."""
    lines: list[str] = []
    previous = ""
    for line in text.splitlines():
        line = line.rstrip()
        if _continues(previous, line):
            lines[-1] += " " + line.lstrip()
        else:
            lines.append(line)
        previous = line
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _continues(previous: str, line: str) -> bool:
    if len(previous) < _SHORTEST_WRAPPED or not line.strip():
        return False
    bare = line.lstrip()
    if _LIST_ITEM.match(bare) or UNDERLINE.fullmatch(bare):
        return False
    item = _LIST_ITEM.match(previous.lstrip())
    indent = len(previous) - len(previous.lstrip()) + (item.end() if item else 0)
    if len(line) - len(bare) != indent:
        return False
    return not _NOT_PROSE.search(previous) and not _NOT_PROSE.search(line)
