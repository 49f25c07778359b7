"""Word's documents, as HTML: headings, lists and tables are marked as there."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import mammoth

from realm.corpus.formats.html import read_html
from realm.corpus.plain_text import PlainText, reader
from realm.errors import InvalidInput

_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
#: What a document may unpack to: a few kilobytes can hold gigabytes of nothing.
_MOST_BYTES = 256 << 20


@reader(".docx")
def read_docx(data: bytes) -> PlainText:
    """Titled by its first heading. Pictures are what is said of them.

    :raises InvalidInput: if it is no such document, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            size = sum(each.file_size for each in packed.infolist())
    except zipfile.BadZipFile as error:
        raise InvalidInput("no Word document: it is no ZIP file") from error
    if size > _MOST_BYTES:
        raise InvalidInput(f"it unpacks to {size} bytes, the limit is {_MOST_BYTES}")
    pictures = mammoth.images.img_element(_without_picture)
    page = mammoth.convert_to_html(io.BytesIO(data), style_map=_STYLES, convert_image=pictures)
    return read_html(page.value)


def _without_picture(image: Any) -> dict[str, str]:
    """Its alternative text stays, which mammoth adds itself."""
    return {"src": ""}
