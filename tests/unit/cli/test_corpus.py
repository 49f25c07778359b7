"""The commands that read and change the corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Shell


async def test_documents_are_listed_and_deleted_by_metadata(realm: Shell) -> None:
    for name, lang in (("a", "de"), ("b", "fr"), ("c", "fr")):
        await realm("corpus", "add", "--id", name, "--text", "text", "--metadata", f"lang={lang}")
    listed = json.loads((await realm("corpus", "list", "--where", "lang=fr", "--json")).out)
    assert [each["document"]["id"] for each in listed["documents"]] == ["b", "c"]
    assert not listed["more"]
    assert "lang=de" in (await realm("corpus", "list")).out
    assert "and more: give --limit 2" in (await realm("corpus", "list", "--limit", "1")).out
    gone = await realm("corpus", "delete", "--where", "lang=fr")
    assert gone.out == "2 documents deleted, corpus version 4\n"
    assert (await realm("corpus", "list", "--where", "lang=fr")).out == "none\n"
    refused = await realm("corpus", "delete")
    assert refused.code == 1
    assert "--where" in refused.err


async def test_documents_go_in_and_come_out(realm: Shell, tmp_path: Path) -> None:
    done = await realm("corpus", "add", "--id", "a", "--text", "[bold]x", "--title", "T")
    assert (done.code, done.out) == (0, "written, corpus version 1\n")
    done = await realm("corpus", "get", "a")
    assert "[bold]x" in done.out
    file = tmp_path / "text.txt"
    file.write_text("of a file")
    done = await realm(
        "corpus", "add", "--id", "b", "--file", str(file), "--metadata", "k=v=w", "--json"
    )
    assert json.loads(done.out) == {"corpus_version": 2}
    found = json.loads((await realm("corpus", "get", "b", "--json")).out)
    assert found["document"]["text"] == "of a file"
    assert found["document"]["metadata"] == {"k": "v=w"}
    assert (await realm("corpus", "delete", "a", "b")).out == "deleted, corpus version 3\n"
    done = await realm("corpus", "get", "a")
    assert (done.code, done.err) == (1, "realm: there is no document a\n")


async def test_parked_documents_are_named(realm: Shell) -> None:
    assert (await realm("corpus", "parked")).out == "none\n"
    assert "parked" not in (await realm("status")).out
    realm.indexer.parked = ["[b]a", "b"]
    done = await realm("corpus", "parked")
    assert "[b]a" in done.out
    assert "it kills embedders" in done.out
    assert done.out.endswith("and 1 more\n")
    assert "2 documents are in no index; `realm corpus parked`" in (await realm("status")).out
    found = json.loads((await realm("corpus", "parked", "--json")).out)
    assert found["parked_documents"] == 2
    assert [(each["document_id"], each["version"]) for each in found["parked"]] == [("[b]a", 3)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--text", "x", "--file", "y"),
        (),
        ("--file", "/does/not/exist"),
        ("--text", "x", "--metadata", "novalue"),
    ],
)
async def test_unusable_document_is_refused(realm: Shell, arguments: tuple[str, ...]) -> None:
    done = await realm("corpus", "add", "--id", "a", *arguments)
    assert done.code == 1
    assert done.err.startswith("realm: ")
    assert realm.indexer.documents == {}


async def test_import_names_problems_with_their_line(realm: Shell, tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    good = [{"id": str(n), "title": "t", "text": f"text {n}"} for n in range(450)]
    lines = [json.dumps(each) for each in good]
    lines.insert(3, "{not json")
    file.write_text("\n".join(lines) + "\n")
    done = await realm("corpus", "import", str(file))
    assert done.code == 1
    assert f"{file}:4: " in done.err
    assert done.out == "450 documents written, corpus version 1; 1 left out\n"
    assert len(realm.indexer.documents) == 450
    done = await realm("corpus", "import", str(file), "--skip-bad", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["documents_written"] == 450
    assert found["problems"][0]["line"] == 4


async def test_import_of_a_folder_says_what_it_did_not_read(realm: Shell, tmp_path: Path) -> None:
    for name in ("a.md", "report.odt", "notes.pptx", "rows.csv", "README", ".hidden.odt"):
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_text("words")
    done = await realm("corpus", "import", str(tmp_path / "docs"))
    assert done.code == 0
    assert done.out == (
        "1 documents written, corpus version 1; 0 left out\n"
        "4 files not read: 1 .csv, 1 .odt, 1 .pptx, 1 without a suffix\n"
    )
    assert sorted(realm.indexer.documents) == ["a.md"]
    found = json.loads((await realm("corpus", "import", str(tmp_path / "docs"), "--json")).out)
    assert found["files_not_read"] == {".csv": 1, ".pptx": 1, ".odt": 1, "without a suffix": 1}


async def test_a_mirrored_folder_is_followed(realm: Shell, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("same", "edited", "gone", "moved", "unreadable"):
        (docs / f"{name}.txt").write_text(f"Keas were {name}.")
    await realm("corpus", "add", "--id", "note", "--text", "Not of the folder.")
    await realm("corpus", "import", "--mirror", str(docs))
    versions = realm.indexer.version
    done = await realm("corpus", "import", "--mirror", str(docs))
    assert "0 documents written; 0 left out; 5 unchanged, 0 deleted" in done.out
    assert realm.indexer.version == versions, "what is as it was is not written"
    (docs / "edited.txt").write_text("Keas are edited.")
    (docs / "gone.txt").unlink()
    (docs / "moved.txt").rename(docs / "new.txt")
    (docs / "unreadable.txt").write_bytes(b"\xff\xfe\x00")
    found = json.loads((await realm("corpus", "import", "--mirror", str(docs), "--json")).out)
    assert (found["documents_written"], found["unchanged"]) == (2, 1)
    assert sorted(found["deleted"]) == ["gone.txt", "moved.txt"]
    assert sorted(realm.indexer.documents) == [
        "edited.txt", "new.txt", "note", "same.txt", "unreadable.txt"
    ]  # fmt: skip
    assert realm.indexer.documents["edited.txt"].text == "Keas are edited."
    assert "were unreadable" in realm.indexer.documents["unreadable.txt"].text


async def test_a_folder_without_a_document_mirrors_nothing_away(
    realm: Shell, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    file = tmp_path / "docs" / "a.txt"
    file.write_text("Keas.")
    await realm("corpus", "import", "--mirror", str(tmp_path / "docs"))
    file.unlink()  # as of a share that is not mounted
    await realm("corpus", "import", "--mirror", str(tmp_path / "docs"))
    assert list(realm.indexer.documents) == ["a.txt"]
    assert (await realm("corpus", "import", "--mirror", str(tmp_path / "none"))).code != 0


async def test_import_names_what_it_replaces_from_elsewhere(realm: Shell, tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(f"Project {folder}.")
    first, second = (str(tmp_path / folder) for folder in "ab")
    for _ in range(2):  # the second time an update, as it should be
        assert (await realm("corpus", "import", first)).err.strip() == ""
    done = await realm("corpus", "import", second, "--prefix", "b")
    assert done.err.strip() == ""
    assert sorted(realm.indexer.documents) == ["README.md", "b/README.md"]
    done = await realm("corpus", "import", second)
    assert done.code == 0
    place = f"{first}/README.md"
    assert f"README.md replaces a document that came from {place}\n" in done.err
    assert "--prefix" in done.err
    found = json.loads((await realm("corpus", "import", first, "--json")).out)
    assert found["replaced"] == [{"id": "README.md", "source": f"{second}/README.md"}]
    await realm("corpus", "add", "--id", "README.md", "--text", "by hand")
    assert "came from somewhere else" in (await realm("corpus", "import", first)).err


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_a_text_has_no_byte_order_mark(realm: Shell, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes("Hello\r\nyou".encode(encoding))
    assert (await realm("corpus", "add", "--id", "a", "--file", str(file))).code == 0
    assert realm.indexer.documents["a"].text == "Hello\nyou"
    file.write_bytes(b"caf\xe9")
    done = await realm("corpus", "add", "--id", "a", "--file", str(file))
    assert "not UTF-8 at byte 3" in done.err
