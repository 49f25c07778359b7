"""Haystack's own calls, over a real gateway."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("haystack", reason="needs realm[haystack]")

from haystack import Document, Pipeline
from haystack.utils import Secret
from haystack.utils.filters import document_matches_filter

from realm.errors import InvalidInput
from realm.filters import matches
from realm.integrations.haystack import RealmRetriever, to_filter
from tests.unit.integrations.expected import QUESTION, expected, of_tenant

#: What Haystack may import when it reads a pipeline.
MODULES = ["realm.integrations.*"]


def described(documents: list[Document]) -> list[tuple[str, str | None, dict[str, Any]]]:
    return [(each.id, each.content, each.meta) for each in documents]


def test_passages_are_documents_with_scores_and_versions(address: str) -> None:
    found = RealmRetriever(address, top_k=3).run(QUESTION)["documents"]
    assert described(found) == expected(address, limit=3)
    assert [each.score for each in found] == [each.meta["realm_score"] for each in found]


async def test_an_asynchronous_run_finds_the_same(address: str) -> None:
    retriever = RealmRetriever(address)
    found = await retriever.run_async(QUESTION, top_k=3)
    assert described(found["documents"]) == expected(address, limit=3)
    await retriever.connection.aclose()


def test_it_is_part_of_a_pipeline_that_is_written_and_read_again(address: str) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", RealmRetriever(address, top_k=2))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=MODULES)
    for each in (pipeline, again):
        found = each.run({"retriever": {"query": QUESTION}})["retriever"]["documents"]
        assert described(found) == expected(address, limit=2)


def test_a_key_is_written_as_the_name_of_its_variable(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "realm_secret")
    pipeline = Pipeline()
    secret = Secret.from_env_var("A_KEY")
    pipeline.add_component("retriever", RealmRetriever(address, api_key=secret))
    written = pipeline.dumps()
    assert "A_KEY" in written
    assert "realm_secret" not in written
    again = Pipeline.loads(written, allowed_modules=MODULES)
    assert again.get_component("retriever").api_key == secret


def test_filters_of_a_run_take_the_place_of_the_retrievers(address: str) -> None:
    retriever = RealmRetriever(address, filters=tenant("acme"))
    for each, filters in (("acme", None), ("globex", tenant("globex"))):
        found = retriever.run(QUESTION, filters=filters)["documents"]
        assert found
        assert all(of_tenant(one.meta, each) for one in found)


def tenant(name: str) -> dict[str, Any]:
    return {"field": "meta.tenant", "operator": "==", "value": name}


CONDITIONS: list[dict[str, Any]] = [
    {"field": "meta.lang", "operator": "==", "value": "en"},
    {"field": "meta.lang", "operator": "!=", "value": "en"},
    {"field": "meta.lang", "operator": "in", "value": ["de", "en"]},
    {"field": "meta.lang", "operator": "not in", "value": ["de", "fr"]},
    {"field": "meta.day", "operator": ">", "value": "1889-03-30"},
    {"field": "meta.day", "operator": "<=", "value": "1889-03-30"},
    {"field": "meta.absent", "operator": "==", "value": "en"},
    {"field": "meta.absent", "operator": "!=", "value": "en"},
]


@pytest.mark.parametrize("operator", ["AND", "OR", "NOT"])
@pytest.mark.parametrize("first", CONDITIONS)
@pytest.mark.parametrize("second", CONDITIONS)
def test_filters_mean_what_they_mean_in_haystack(
    operator: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    metadata = {"lang": "en", "day": "1889-03-31"}
    given = {"operator": operator, "conditions": [first, second]}
    meant = document_matches_filter(given, Document(content="x", meta=dict(metadata)))
    assert matches(to_filter(given), metadata) == meant


@pytest.mark.parametrize(
    "given",
    [
        {"field": "meta.lang", "operator": "like", "value": "e"},
        {"field": "meta.lang", "operator": "==", "value": True},
        {"field": "meta.lang", "operator": "in", "value": "en"},
        {"lang": "en"},
        {"operator": "XOR", "conditions": []},
    ],
)
def test_what_realm_cannot_apply_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        to_filter(given)
