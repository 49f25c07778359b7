"""Files of many documents, as their projects publish them."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from realm.corpus.documents import Document
from realm.corpus.formats.mediawiki import plain
from realm.corpus.importers import Problem, read_documents
from realm.errors import InvalidInput
from tests.http_server import HttpServer, serving

KEA: dict[str, Any] = {"id": "kea", "title": "Kea", "text": "Keas live in the Alps."}
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">
  <siteinfo><sitename>Wikipedia</sitename><dbname>enwiki</dbname></siteinfo>
  <page><title>Kea</title><ns>0</ns><id>7</id>
    <revision><id>1</id><text>An older text.</text></revision>
    <revision><id>2</id><text xml:space="preserve">{{Speciesbox|genus=Nestor}}
[[File:Kea.jpg|thumb|A '''kea''' in [[Arthur's Pass]]]]
The '''kea''' (''Nestor notabilis'') is a [[parrot]] of [[New Zealand|the South
Island]].&lt;ref name="a"&gt;{{cite web|url=http://x}}&lt;/ref&gt;

== Range ==
It lives in the [http://alps.example Alps].
{| class="wikitable"
| a || b
|}
[[Category:Nestor]]</text></revision></page>
  <page><title>Nestor notabilis</title><ns>0</ns><id>8</id><redirect title="Kea" />
    <revision><text>#REDIRECT [[Kea]]</text></revision></page>
  <page><title>Talk:Kea</title><ns>1</ns><id>9</id><revision><text>Hi.</text></revision></page>
  <page><title>Empty</title><ns>0</ns><id>10</id><revision><text></text></revision></page>
</mediawiki>"""


def read(*paths: Path | str, **options: Any) -> list[Document | Problem]:
    return list(read_documents(paths, max_bytes=10_000, **options))


def test_parquet_has_types_and_columns_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "birds.parquet"
    rows = [
        {"id": 1, "text": "Keas.", "year": 1990, "seen": datetime.date(2024, 5, 1), "note": None},
        {"id": 2, "text": " ", "year": 1991, "seen": None, "note": "empty"},
        {"id": 3, "text": "Moas.", "year": None, "seen": None, "note": "gone"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=1)
    first, empty, last = read(file)
    assert first == Document("1", "", "Keas.", {"year": "1990", "seen": "2024-05-01"})
    assert isinstance(empty, Problem)
    assert (empty.line, "has no text" in empty.message) == (2, True)
    assert last == Document("3", "", "Moas.", {"note": "gone"})


def test_rows_without_an_id_are_named_by_their_content(tmp_path: Path) -> None:
    names = set()
    for order in ([0, 1], [1, 0]):
        file = tmp_path / f"{order[0]}.parquet"
        rows = [{"context": "Keas."}, {"context": "Moas."}]
        pq.write_table(pa.Table.from_pylist([rows[at] for at in order]), file)
        found = read(file, columns={"text": "context"})
        names.add(frozenset((each.id, each.text) for each in found))  # type: ignore[union-attr]
    assert len(names) == 1
    assert {text for _, text in names.pop()} == {"Keas.", "Moas."}


def test_dpr_s_passages_are_read_as_they_are_published(tmp_path: Path) -> None:
    file = tmp_path / "psgs_w100.tsv.gz"
    text = 'id\ttext\ttitle\n1\t"""Keas"" live in the Alps."\tKea\n2\tIt was 3" long.\tMoa\n'
    file.write_bytes(gzip.compress(text.encode()))
    assert read(file) == [
        Document("1", "Kea", '"Keas" live in the Alps.'),
        Document("2", "Moa", 'It was 3" long.'),
    ]


def test_of_a_folder_of_beir_the_corpus_is_read(tmp_path: Path) -> None:
    row = {"_id": "d1", "title": "Kea", "text": "Keas.", "metadata": {"url": "u"}}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(row))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "Where do keas live?"}')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    assert read(tmp_path) == [Document("d1", "Kea", "Keas.", {"url": "u"})]


def test_articles_of_a_dump_are_read_without_markup(tmp_path: Path) -> None:
    file = tmp_path / "enwiki-pages-articles.xml.bz2"
    file.write_bytes(bz2.compress(DUMP.encode()))
    article, empty = read(file)
    assert isinstance(article, Document)
    assert (article.id, article.title, article.metadata) == ("enwiki/Kea", "Kea", {"page": "7"})
    assert article.text == (
        "The kea (Nestor notabilis) is a parrot of the South\nIsland.\n\nRange\n"
        "It lives in the Alps."
    )
    assert isinstance(empty, Problem)
    assert (empty.line, "has no text" in empty.message) == (4, True)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("'''Keas''' &amp; moas&nbsp;live", "Keas & moas\xa0live"),
        ("a<math>x^2</math> b", "a b"),
        ("[[Kea|keas]] and [[moa]]s", "keas and moas"),
        ("{{a|{{b}}}}Text{{c}}", "Text"),
        ("[[File:a.jpg|thumb|[[File:b.jpg]] nested]]after", "after"),
        ("an [[unclosed link and {{a template", "an [[unclosed link and {{a template"),
    ],
)
def test_wikitext_is_read_as_it_is_shown(source: str, text: str) -> None:
    assert plain(source) == text


def save_to_disk(folder: Path, rows: list[dict[str, Any]], shards: int) -> None:
    """As `datasets.Dataset.save_to_disk` lays it out."""
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    table = pa.Table.from_pylist(rows)
    for shard in range(shards):
        name = folder / f"data-{shard:05d}-of-{shards:05d}.arrow"
        with pa.OSFile(str(name), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table.slice(shard, 1))


def test_a_dataset_on_disk_is_read_shard_by_shard(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "Keas."}, {"id": "b", "text": "Moas."}]
    save_to_disk(tmp_path / "train", rows, shards=2)
    assert [each.id for each in read(tmp_path / "train")] == ["a", "b"]  # type: ignore[union-attr]
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert len(read(tmp_path)) == 2


def test_a_downloaded_dataset_is_a_folder_of_parquet(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist([KEA]), tmp_path / "data" / "train-00000.parquet")
    (tmp_path / "README.md").write_text("# A dataset card")
    assert read(tmp_path) == [Document(**KEA)]


@contextmanager
def hub(file: bytes) -> Iterator[str]:
    """Speaks as much of the hub's protocol as its own client asks for one dataset."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            revision = "refs%2Fconvert%2Fparquet"
            path = self.path.partition("?")[0]
            if path == f"/api/datasets/birds/kea/tree/{revision}":
                names = ["README.md", "default/train/0000.parquet"]
                listed = [{"type": "file", "path": name, "size": 1, "oid": "o"} for name in names]
                self.answer(json.dumps(listed).encode(), {"content-type": "application/json"})
            elif path == f"/datasets/birds/kea/resolve/{revision}/default/train/0000.parquet":
                self.answer(file, {"etag": '"e1"', "x-repo-commit": "a" * 40})
            else:
                self.send_response(404)
                self.send_header("x-error-code", "RepoNotFound")
                self.send_header("content-length", "0")
                self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def answer(self, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    with serving(HttpServer(Hub)) as server:
        yield server.url


def test_a_dataset_is_read_by_its_name_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    pq.write_table(pa.Table.from_pylist([KEA]), tmp_path / "kea.parquet")
    with hub((tmp_path / "kea.parquet").read_bytes()) as address:
        download = partial(
            huggingface_hub.hf_hub_download, endpoint=address, cache_dir=tmp_path / "cache"
        )
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        monkeypatch.setattr(
            huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=address)
        )
        assert read("hf:birds/kea") == [Document(**KEA)]
        (problem,) = read("hf:birds/moa")
    assert isinstance(problem, Problem)
    assert "no dataset birds/moa" in problem.message


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.jsonl.gz", gzip.compress(json.dumps(KEA).encode() * 500)[:-20], "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.xz", b"no xz", "cannot be read"),
        ("a.parquet", b"no Parquet", "no Parquet that can be read"),
        ("a.arrow", b"no Arrow!", "no stream of Arrow that can be read"),
        ("a.xml", b"<rss></rss>", "no dump of a MediaWiki"),
        ("a.xml", DUMP.encode()[:300], "its XML is damaged"),
        ("a.xml.bz2", bz2.compress(DUMP.encode())[:100], "cannot be read"),
    ],
)
def test_what_is_damaged_is_named_and_the_rest_is_read(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.jsonl").write_text(json.dumps(KEA))
    *_, problem, good = read(tmp_path / name, tmp_path / "good.jsonl")
    assert isinstance(problem, Problem)
    assert why in problem.message
    assert good == Document(**KEA)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.jsonl", '{"id": "a.jsonl", "text": "Füße für 30 €"}'),
        ("a.csv", "id,text\na.csv,Füße für 30 €\n"),
        ("a.md", "Füße für 30 €"),
        ("a.rst", "Füße für 30 €"),
        ("a.txt", "Füße für 30 €"),
        ("a.html", "<meta charset=utf-8><p>Füße für 30 €"),
    ],
)
def test_an_encoding_that_is_named_counts_unless_a_mark_says_another(
    tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / name).write_text(words, encoding="cp1252")
    (found,) = read(tmp_path / name, encoding="cp1252")
    assert isinstance(found, Document)
    assert found.text == "Füße für 30 €"
    (problem,) = read(tmp_path / name)
    assert isinstance(problem, Problem)
    (tmp_path / name).write_text(words, encoding="utf-8-sig")
    (found,) = read(tmp_path / name, encoding="cp1252")
    assert isinstance(found, Document)
    assert found.text == "Füße für 30 €"


@pytest.mark.parametrize("name", ["latin-99", "base64"])
def test_an_unknown_encoding_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=f"encoding {name} is unknown"):
        read(tmp_path, encoding=name)
