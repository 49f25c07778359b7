"""Bytes to text, once for every path: encodings, line ends and byte order marks made alike."""

from __future__ import annotations

import codecs
import re

from realm.errors import InvalidInput

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
    """In the encoding of its byte order mark, else in the one declared, else in UTF-8.

    Encodings are not guessed: a wrong guess would be found by nobody.

    :raises InvalidInput: if the bytes are something else.
    """
    codec = marked(data) or declared or codecs.lookup("utf-8")
    try:
        return with_one_line_end(codec.decode(data)[0])
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"not {codec.name.upper()} at byte {error.start}: convert it to UTF-8"
        ) from error


def marked(data: bytes) -> codecs.CodecInfo | None:
    """The encoding that the first bytes name."""
    found = (name for mark, name in MARKS if data.startswith(mark))
    return next(map(codecs.lookup, found), None)


def with_one_line_end(text: str) -> str:
    return _LINE_END.sub("\n", without_mark(text))


def without_mark(text: str) -> str:
    return text.removeprefix("\ufeff")
