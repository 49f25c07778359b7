"""A dump of Wikipedia, or of another MediaWiki: its articles, without markup."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, ParseError, iterparse

from realm.corpus.containers import Asked, Found, container
from realm.corpus.documents import Document
from realm.errors import InvalidInput

#: What says something about an article and is not read in it.
_ASIDE = frozenset(["gallery", "math", "ref", "references", "score", "table", "timeline"])
_FILES = ("category:", "file:", "image:")
_ARTICLES = "0"


@container(".xml")
def read_dump(file: BinaryIO, asked: Asked) -> Iterator[Found]:
    """Articles alone: redirects and pages about pages are passed over. Each is named by its wiki
    and its title.

    :raises InvalidInput: if it is no dump of a MediaWiki.
    """
    wiki, number = "wiki", 0
    pages: Element | None = None
    try:
        for event, element in iterparse(file, events=("start", "end")):
            name = _local(element)
            if pages is None:
                if name != "mediawiki":
                    raise InvalidInput("XML, but no dump of a MediaWiki")
                pages = element
            elif event == "end" and name == "dbname":
                wiki = element.text or wiki
            elif event == "end" and name == "page":
                number += 1
                if _text(element, "ns") == _ARTICLES and _child(element, "redirect") is None:
                    yield number, partial(_article, wiki, *_source(element), asked.longest)
                pages.clear()
    except ParseError as error:
        raise InvalidInput(f"its XML is damaged: {error}") from error


def _source(page: Element) -> tuple[str, str, str]:
    """Title, id and wikitext of its newest revision."""
    revisions = [each for each in page if _local(each) == "revision"]
    text = _text(revisions[-1], "text") if revisions else ""
    return _text(page, "title"), _text(page, "id"), text


def _article(wiki: str, title: str, page: str, source: str, longest: int) -> Document:
    if len(source) > longest:
        raise InvalidInput(f"the page has more than {longest} characters")
    return Document(f"{wiki}/{title}", title, plain(source), {"page": page})


def plain(source: str) -> str:
    """Wikitext without its markup: links are their words, templates and tables are left out."""
    import mwparserfromhell  # only where there is a dump

    code = mwparserfromhell.parse(source)
    for link in code.filter_wikilinks():
        if str(link.title).strip().lower().startswith(_FILES):
            _remove(code, link)
    for tag in code.filter_tags(matches=lambda node: str(node.tag).strip().lower() in _ASIDE):
        _remove(code, tag)
    lines = code.strip_code(normalize=True, collapse=True).splitlines()
    return "\n".join(line.strip() for line in lines).strip()


def _remove(code: Any, node: object) -> None:
    """It may have gone with another already."""
    if code.contains(node):
        code.remove(node)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: Element, name: str) -> Element | None:
    return next((each for each in element if _local(each) == name), None)


def _text(element: Element, name: str) -> str:
    found = _child(element, name)
    return (found.text or "") if found is not None else ""
