"""PDF: the text that its pages show, page after page. Pictures of text are not read."""

from __future__ import annotations

import io
import logging

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from realm.corpus.plain_text import PlainText, reader, unwrap
from realm.errors import InvalidInput

# It warns of each deviation from the standard; what cannot be read is said once, as an error.
logging.getLogger("pypdf").setLevel(logging.ERROR)


@reader(".pdf")
def read_pdf(data: bytes) -> PlainText:
    """Titled as the file says. Pages are paragraphs apart.

    :raises InvalidInput: if it is damaged, asks for a password, or shows no text.
    """
    try:
        document = PdfReader(io.BytesIO(data))
        if document.is_encrypted and not document.decrypt(""):
            raise InvalidInput("it asks for a password")
        pages = [unwrap(page.extract_text()) for page in document.pages]
        title = document.metadata.title if document.metadata else None
    except PyPdfError as error:
        raise InvalidInput(f"no PDF that can be read: {error}") from error
    text = "\n\n".join(page for page in pages if page.strip())
    if not text:
        raise InvalidInput("its pages show no text: what is scanned has to be recognised first")
    return PlainText(" ".join(str(title).split()) if title else None, text)
