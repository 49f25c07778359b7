"""`realm up --follow` over a whole cluster: what is saved in a folder is found."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.running import RunningCluster
from tests.waiting import until

PATIENCE = 90.0
QUESTION = "What do huia birds eat?"


def test_a_search_finds_a_folder_s_files_as_they_are_now(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "moa.md").write_text("# Moa\n\nMoas were birds without wings.")
    with RunningCluster(tmp_path / "run", rate=0, follow=notes) as cluster:

        def found() -> dict[str, str]:
            """Text by document, of the folder's that a search finds."""
            answered = cluster.client.search(QUESTION, limit=100)
            passages = [each.passage for each in answered.passages]
            return {each.document_id: each.text for each in passages if "source" in each.metadata}

        until(lambda: set(found()) == {"moa.md"}, "what was there at the start", PATIENCE)
        (notes / "huia.md").write_text("# Huia\n\nHuia birds eat grubs.")
        until(lambda: "grubs" in found().get("huia.md", ""), "a file that was saved", PATIENCE)
        (notes / "huia.md").write_text("# Huia\n\nHuia birds eat spiders.")
        until(lambda: "spiders" in found().get("huia.md", ""), "a file that was changed", PATIENCE)
        assert "grubs" not in found()["huia.md"]
        (notes / "huia.md").rename(notes / "extinct.md")
        until(lambda: set(found()) == {"moa.md", "extinct.md"}, "a file that was renamed", PATIENCE)
        (notes / "extinct.md").unlink()
        until(lambda: set(found()) == {"moa.md"}, "a file that was deleted", PATIENCE)
