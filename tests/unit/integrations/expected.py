"""What any retriever must find, whatever it calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realm.client import Client

QUESTION = "who built the tower"


def expected(address: str, **options: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Of each passage that the client itself finds: its id, its text and its metadata."""
    with Client(address) as client:
        found = client.search(QUESTION, **options)
    version = found.index_version
    assert found.passages
    return [
        (
            each.passage.passage_id,
            each.passage.text,
            {
                **each.passage.metadata,
                "realm_document_id": each.passage.document_id,
                "realm_document_version": each.passage.document_version,
                "realm_title": each.passage.title,
                "realm_start": each.passage.start,
                "realm_end": each.passage.end,
                "realm_score": each.score,
                "realm_probability": each.probability,
                "realm_generation": version.generation,
                "realm_snapshot": version.snapshot,
                "realm_step": version.step,
                "realm_corpus_version": version.corpus_version,
                "realm_words_alone": version.words_alone,
            },
        )
        for each in found.passages
    ]


def of_tenant(metadata: Mapping[str, Any], tenant: str) -> bool:
    return bool(metadata["tenant"] == tenant)
