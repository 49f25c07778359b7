"""Pages of the web by their address, and sitemaps (https://www.sitemaps.org), whose pages are read
one after the other. Nothing is followed from page to page, robots.txt is respected (RFC 9309), and
a site is asked for one page at a time, with the pause that it asks for."""

from __future__ import annotations

import codecs
import gzip
import io
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException, HTTPMessage
from typing import Any
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree

from realm import __version__
from realm.corpus.containers import NAMED, Remote
from realm.corpus.documents import Document
from realm.corpus.plain_text import ENCODED, READERS
from realm.errors import InvalidInput

#: By which robots.txt may name us.
AGENT = "realm"
USER_AGENT = f"{AGENT}/{__version__}"
NOTHING_ALLOWED = ("User-agent: *", "Disallow: /")
SECONDS = 30.0
#: A longer pause than this is not waited for.
LONGEST_PAUSE = 60.0
#: Of a sitemap's own size, and how deep its lists of sitemaps are read.
SITEMAP_BYTES, DEPTH = 50 << 20, 2
KINDS = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "application/pdf": ".pdf",
}
GZIP = b"\x1f\x8b"
SITEMAPS = ("text/xml", "application/xml", "application/gzip", "application/x-gzip")


@dataclass(frozen=True, slots=True)
class Fetched:
    url: str
    kind: str
    charset: str
    data: bytes


@dataclass(slots=True)
class Web:
    """One import's view of the web: each site's robots.txt is read once."""

    longest: int
    _robots: dict[str, RobotFileParser] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def parts(self, url: str) -> Iterator[Remote]:
        """The page, or the pages of a sitemap.

        :raises InvalidInput: if it cannot be had.
        """
        yield from self._parts(url, DEPTH)

    def _parts(self, url: str, depth: int) -> Iterator[Remote]:
        found = self.fetch(url, SITEMAP_BYTES if _may_be_sitemap(url) else self.longest)
        if found.kind not in SITEMAPS:
            yield Remote(url, partial(self.document, url, found))
            return
        maps, pages = sitemap(found)
        site = _site(url)
        for page in pages:
            yield Remote(page, partial(self._named, site, page))
        for each in maps if depth else ():
            if _site(each) == site:
                yield from self._parts(each, depth - 1)
            else:
                yield Remote(each, partial(self._named, site, each))

    def _named(self, site: str, page: str) -> Document:
        """As the protocol has it, a sitemap speaks of its own site alone."""
        if _site(page) != site:
            raise InvalidInput(f"named by a sitemap of {site}, which is another site")
        return self.document(page, self.fetch(page, self.longest))

    def document(self, url: str, page: Fetched) -> Document:
        """:raises InvalidInput: if it is of a kind that is not read."""
        suffix = KINDS.get(page.kind)
        if suffix is None:
            raise InvalidInput(f"the page is {page.kind}: {', '.join(KINDS)} are read")
        data = page.data
        if page.charset and suffix in ENCODED:
            # What the server says counts before what the page says.
            data = codecs.BOM_UTF8 + _decoded(page).encode()
        plain = READERS[suffix](data)
        return Document(url, plain.title or url, plain.text, {"source": page.url})

    def fetch(self, url: str, most: int) -> Fetched:
        """:raises InvalidInput: saying why there is nothing."""
        self.allow(url)
        try:
            return self._get(url, most)
        except urllib.error.HTTPError as error:
            raise InvalidInput(f"the server says {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise InvalidInput(f"cannot be fetched: {error}") from error

    def allow(self, url: str) -> None:
        """Waits for our turn. :raises InvalidInput: if robots.txt does not let us."""
        site = _site(url)
        if site not in self._robots:
            self._robots[site] = self._read_robots(site)
        robots = self._robots[site]
        if not robots.can_fetch(AGENT, url):
            raise InvalidInput(f"{site}/robots.txt does not allow it")
        pause = min(float(robots.crawl_delay(AGENT) or 0), LONGEST_PAUSE)
        due = self._asked.get(site, -LONGEST_PAUSE) + pause
        threading.Event().wait(max(0.0, due - time.monotonic()))
        self._asked[site] = time.monotonic()

    def _read_robots(self, site: str) -> RobotFileParser:
        """Where there is none, all is allowed; where it cannot be read, nothing."""
        robots = RobotFileParser()
        try:
            found = self._get(f"{site}/robots.txt", self.longest)
            robots.parse(found.data.decode(errors="replace").splitlines())
        except urllib.error.HTTPError as error:
            robots.parse([] if 400 <= error.code < 500 else NOTHING_ALLOWED)
        except (OSError, HTTPException, ValueError) as error:
            raise InvalidInput(f"{site} cannot be reached: {error}") from error
        return robots

    def _get(self, url: str, most: int) -> Fetched:
        request = urllib.request.Request(url, headers={"user-agent": USER_AGENT})
        opener = urllib.request.build_opener(_Redirects(self))
        with opener.open(request, timeout=SECONDS) as answer:
            data = answer.read(most + 1)
            if len(data) > most:
                raise ValueError(f"longer than {most} bytes")
            kind = answer.headers.get_content_type()
            return Fetched(answer.url, kind, answer.headers.get_content_charset() or "", data)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Only to where robots.txt lets us."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Any:
        if not req.full_url.endswith("/robots.txt"):
            self._web.allow(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def sitemap(found: Fetched) -> tuple[list[str], list[str]]:
    """The sitemaps and the pages that it names.

    :raises InvalidInput: if it is none.
    """
    try:
        data = found.data
        if data.startswith(GZIP):
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(SITEMAP_BYTES)
        root = ElementTree.fromstring(data)
    except (OSError, EOFError, ElementTree.ParseError) as error:
        raise InvalidInput(f"{found.url} is no sitemap: {error}") from error
    named = [(each.text or "").strip() for each in root.iterfind("{*}*/{*}loc")]
    kind = root.tag.rpartition("}")[2]
    if kind not in ("urlset", "sitemapindex"):
        raise InvalidInput(f"{found.url} is XML, and no sitemap")
    return (named, []) if kind == "sitemapindex" else ([], named)


def _decoded(page: Fetched) -> str:
    try:
        return page.data.decode(page.charset)
    except (LookupError, UnicodeDecodeError) as error:
        raise InvalidInput(f"not {page.charset.upper()}, as the server says") from error


def _site(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _may_be_sitemap(url: str) -> bool:
    return urllib.parse.urlsplit(url).path.endswith((".xml", ".xml.gz"))


def _of_the_web(scheme: str, name: str, longest: int) -> Iterator[Remote]:
    """A path keeps one slash of the two."""
    return Web(longest).parts(f"{scheme}://{name.lstrip('/')}")


for _scheme in ("http", "https"):
    NAMED[_scheme] = partial(_of_the_web, _scheme)
