"""PDF: the text of its pages; what shows none is named."""

from __future__ import annotations

import io

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from realm.corpus.formats.pdf import read_pdf
from realm.errors import InvalidInput


def pdf(*pages: list[str], title: str = "", password: str = "") -> bytes:
    """Of lines of text; a page without any is empty."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for lines in pages:
        page = writer.add_blank_page(width=600, height=800)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        shown = "".join(f"({line}) Tj T* " for line in lines)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 14 TL 50 700 Td {shown}ET".encode())
        page[NameObject("/Contents")] = content
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password)
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def test_pages_follow_one_another_and_wrapped_lines_are_joined() -> None:
    prose = ["The kea is a large parrot of the alpine regions of", "New Zealand."]
    plain = read_pdf(pdf(prose, [], ["It is known for its curiosity."], title="The  kea"))
    assert plain.title == "The kea"
    assert plain.text == (
        "The kea is a large parrot of the alpine regions of New Zealand."
        "\n\nIt is known for its curiosity."
    )


def test_without_a_title_it_has_none() -> None:
    assert read_pdf(pdf(["Keas are parrots."])).title is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"%PDF-1.4 and then nothing", "no PDF that can be read"),
        (b"", "no PDF that can be read"),
        (pdf([]), "no text"),
        (pdf(["Keas are parrots."], password="secret"), "password"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        read_pdf(data)
