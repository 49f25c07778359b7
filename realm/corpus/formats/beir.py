"""BEIR: a folder with `corpus.jsonl` beside `queries.jsonl`, which are no documents."""

from __future__ import annotations

from pathlib import Path

from realm.corpus.containers import LAYOUTS


def corpus_of(folder: Path) -> list[Path] | None:
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    return [corpus] if corpus.is_file() and queries.is_file() else None


LAYOUTS.append(corpus_of)
