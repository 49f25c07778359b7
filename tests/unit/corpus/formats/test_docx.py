"""Word's documents: headings, lists and tables as in HTML."""

from __future__ import annotations

import io
import zipfile

import pytest

from realm.corpus.formats import docx
from realm.corpus.formats.docx import read_docx
from realm.errors import InvalidInput

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PARTS = {
    "[Content_Types].xml": (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.wordprocessingml.document.main+xml"/></Types>'
    ),
    "_rels/.rels": (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="r1" Target="word/document.xml" Type="http://schemas.openxmlformats.org/'
        'officeDocument/2006/relationships/officeDocument"/></Relationships>'
    ),
    "word/styles.xml": (
        f'<w:styles xmlns:w="{WORD}">'
        '<w:style w:type="paragraph" w:styleId="T"><w:name w:val="Title"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="H"><w:name w:val="heading 2"/></w:style>'
        "</w:styles>"
    ),
}


def paragraph(text: str, style: str = "") -> str:
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{kind}<w:r><w:t>{text}</w:t></w:r></w:p>"


def table(*rows: list[str]) -> str:
    cells = (f"<w:tc>{paragraph(cell)}</w:tc>" for row in rows for cell in row)
    width = len(rows[0])
    found = list(cells)
    made = [f"<w:tr>{''.join(found[at : at + width])}</w:tr>" for at in range(0, len(found), width)]
    return f"<w:tbl>{''.join(made)}</w:tbl>"


def word(*body: str) -> bytes:
    document = f'<w:document xmlns:w="{WORD}"><w:body>{"".join(body)}</w:body></w:document>'
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for name, content in {**PARTS, "word/document.xml": document}.items():
            packed.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return written.getvalue()


def test_title_headings_and_paragraphs() -> None:
    plain = read_docx(
        word(
            paragraph("Keas", "T"), paragraph("They are parrots."),
            paragraph("Where", "H"), paragraph("In New Zealand."),
        )
    )  # fmt: skip
    assert plain.title == "Keas"
    assert plain.text == "# Keas\n\nThey are parrots.\n\n## Where\n\nIn New Zealand."


def test_cells_of_a_row_stay_together() -> None:
    plain = read_docx(word(table(["bird", "weight"], ["kea", "1 kg"])))
    (line,) = [each for each in plain.text.splitlines() if "kea" in each]
    assert "1 kg" in line


@pytest.mark.parametrize("data", [b"", b"PK and no more", b"{\\rtf1 an older format}"])
def test_what_is_none_says_so(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="no ZIP file"):
        read_docx(data)


def test_what_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docx, "_MOST_BYTES", 100)
    with pytest.raises(InvalidInput, match="unpacks to"):
        read_docx(word(paragraph("Keas")))
