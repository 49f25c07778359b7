"""Git repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from realm.corpus.documents import Document
from realm.corpus.importers import Problem, read_documents

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> None:
    names = {f"GIT_{who}_{what}": "kea@example" for who in ("AUTHOR", "COMMITTER")
             for what in ("NAME", "EMAIL")}  # fmt: skip
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, env={**os.environ, **names})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "kea"
    (folder / "docs").mkdir(parents=True)
    (tmp_path / "secret.md").write_text("Nobody may read this.")
    (folder / "docs" / "kea.md").write_text("# Kea\n\nA parrot.")
    (folder / "docs" / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / ".gitignore").write_text("drafts/\n")
    (folder / "drafts").mkdir()
    (folder / "drafts" / "moa.md").write_text("# Moa")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Kea")
    (folder / "docs" / "later.md").write_text("Not committed.")
    return folder


def read(name: str) -> dict[str, Document | Problem]:
    found = read_documents([name], max_bytes=1000, prefix="birds")
    return {each.id if isinstance(each, Document) else "problem": each for each in found}


def test_what_is_committed_is_read_and_no_link_leads_out(repository: Path) -> None:
    found = read(f"git:{repository}")
    assert set(found) == {"birds/docs/kea.md", "birds/docs/link.md"}
    kea = found["birds/docs/kea.md"]
    assert isinstance(kea, Document)
    assert kea.metadata == {"source": f"{repository}/docs/kea.md"}
    link = found["birds/docs/link.md"]
    assert isinstance(link, Document)
    assert "Nobody" not in link.text


def test_a_branch_is_read_by_its_name(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "more/birds")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "Later")
    git(repository, "checkout", "--quiet", "main")
    assert set(read(f"git:file://{repository}")) == {"birds/docs/kea.md", "birds/docs/link.md"}
    assert "birds/docs/later.md" in read(f"git:file://{repository}@more/birds")


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    (problem,) = read(f"git:{tmp_path}/nothing.git").values()
    assert isinstance(problem, Problem)
    assert "cannot be copied" in problem.message
