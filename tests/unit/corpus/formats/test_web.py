"""Pages and sitemaps, of a site on this machine."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from realm.corpus.documents import Document
from realm.corpus.formats.web import USER_AGENT
from realm.corpus.importers import Problem, read_documents
from tests.http_server import HttpServer, serving

MAX_BYTES = 2_000


class Site(HttpServer):
    """Each path's kind and content; what was asked, and by whom."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, str, bytes]] = {}
        self.asked: list[str] = []
        self.agents: set[str | None] = set()
        super().__init__(Answers)

    def put(
        self, path: str, content: str | bytes, kind: str = "text/html", status: int = 200
    ) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        self.pages[path] = status, kind, data


class Answers(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.agents.add(self.headers["user-agent"])
        status, kind, data = self.server.pages.get(self.path, (404, "text/plain", b""))
        self.send_response(status)
        if status == 302:
            self.send_header("location", data.decode())
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def read(*urls: str) -> list[Document | Problem]:
    return list(read_documents(urls, max_bytes=MAX_BYTES))


def told(found: Document | Problem) -> str:
    assert isinstance(found, Problem)
    return found.message


def test_a_page_is_a_document_by_its_address(site: Site) -> None:
    site.put("/kea?lang=en", "<title>Kea</title><p>A parrot.</p><script>no()</script>")
    url = f"{site.url}/kea?lang=en"
    assert read(url) == [Document(url, "Kea", "A parrot.", {"source": url})]
    assert site.agents == {USER_AGENT}


def test_what_the_server_says_of_letters_counts(site: Site) -> None:
    site.put("/a", "<meta charset=utf-8><p>Māori".encode("utf-16"), "text/html; charset=utf-16")
    site.put("/b", "naïve".encode("latin-1"), "text/plain; charset=iso-8859-1")
    site.put("/c", b"\xff", "text/plain; charset=utf-8")
    first, second, third = read(*(f"{site.url}/{name}" for name in "abc"))
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.text, second.text) == ("Māori", "naïve")
    assert "not UTF-8" in told(third)


def sitemap(*urls: str, kind: str = "urlset") -> str:
    tag = "url" if kind == "urlset" else "sitemap"
    named = "".join(f"<{tag}><loc>{url}</loc></{tag}>" for url in urls)
    return f'<{kind} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{named}</{kind}>'


def test_a_sitemap_s_pages_are_read_one_by_one(site: Site) -> None:
    index = sitemap(f"{site.url}/one.xml.gz", kind="sitemapindex")
    site.put("/sitemap.xml", index, "application/xml")
    pages = (f"{site.url}/kea", f"{site.url}/gone", "http://elsewhere.example/moa")
    site.put("/one.xml.gz", gzip.compress(sitemap(*pages).encode()), "application/x-gzip")
    site.put("/kea", "<title>Kea</title><a href='/more'>more</a>")
    kea, gone, elsewhere = read(f"{site.url}/sitemap.xml")
    assert isinstance(kea, Document)
    assert kea.id == f"{site.url}/kea"
    assert "404" in told(gone)
    assert "another site" in told(elsewhere)
    assert site.asked == ["/robots.txt", "/sitemap.xml", "/one.xml.gz", "/kea", "/gone"]


def test_robots_txt_is_respected_where_a_page_leads_too(site: Site) -> None:
    site.put("/robots.txt", "User-agent: *\nDisallow: /private\n", "text/plain")
    site.put("/private/kea", "<p>Private.")
    site.put("/open", f"{site.url}/private/kea", status=302)
    site.put("/public", "<p>Public.")
    private, led, public = read(*(f"{site.url}/{n}" for n in ("private/kea", "open", "public")))
    assert "robots.txt does not allow it" in told(private)
    assert "robots.txt does not allow it" in told(led)
    assert isinstance(public, Document)
    assert "/private/kea" not in site.asked


def test_where_robots_txt_cannot_be_read_nothing_is_asked(site: Site) -> None:
    site.put("/robots.txt", "", status=503)
    site.put("/kea", "<p>Kea.")
    assert "robots.txt does not allow it" in told(read(f"{site.url}/kea")[0])
    assert site.asked == ["/robots.txt"]


def test_a_pause_that_a_site_asks_for_is_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: waited.append(seconds))
    monkeypatch.setattr("realm.corpus.formats.web.time.monotonic", lambda: 100.0)
    site.put("/robots.txt", "User-agent: realm\nCrawl-delay: 7\n", "text/plain")
    site.put("/sitemap.xml", sitemap(f"{site.url}/a"), "application/xml")
    site.put("/a", "<p>A.")
    read(f"{site.url}/sitemap.xml")
    assert 7.0 in waited


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (b"<p>" + b"x" * 2_000_000, "text/html", "longer than"),
        (b"\x89PNG", "image/png", "the page is image/png"),
        (b"<rss></rss>", "text/xml", "no sitemap"),
        (b"<urlset>", "text/xml", "no sitemap"),
    ],
)
def test_what_cannot_be_read_is_named(site: Site, content: bytes, kind: str, why: str) -> None:
    site.put("/it", content, kind)
    site.put("/kea", "<p>Kea.")
    problem, kea = read(f"{site.url}/it", f"{site.url}/kea")
    assert why in told(problem)
    assert isinstance(kea, Document)


def test_a_site_that_is_not_there_is_named(site: Site) -> None:
    url = site.url
    site.shutdown()
    site.server_close()
    assert "cannot be reached" in told(read(f"{url}/kea")[0])
