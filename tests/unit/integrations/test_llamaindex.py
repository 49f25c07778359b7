"""LlamaIndex's own calls, over a real gateway."""

from __future__ import annotations

import pytest

pytest.importorskip("llama_index.core", reason="needs realm[llamaindex]")

from llama_index.core.schema import MetadataMode, NodeRelationship, NodeWithScore
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from realm.errors import InvalidInput
from realm.filters import matches
from realm.integrations.connection import Connection
from realm.integrations.llamaindex import RealmRetriever, to_filter
from tests.unit.integrations.expected import QUESTION, expected, of_tenant


def described(nodes: list[NodeWithScore]) -> list[tuple[str, str, dict[str, object]]]:
    return [(each.node_id, each.text, each.metadata) for each in nodes]


def test_passages_are_nodes_with_scores_and_versions(address: str) -> None:
    retriever = RealmRetriever(Connection(address), limit=3)
    found = retriever.retrieve(QUESTION)
    assert described(found) == expected(address, limit=3)
    for each in found:
        assert each.score == each.metadata["realm_score"]
        source = each.node.relationships[NodeRelationship.SOURCE]
        assert source.node_id == each.metadata["realm_document_id"]


def test_a_language_model_reads_text_and_the_documents_own_metadata(address: str) -> None:
    (found,) = RealmRetriever(Connection(address), limit=1).retrieve(QUESTION)
    read = found.node.get_content(MetadataMode.LLM)
    assert found.text in read
    assert "tenant" in read
    assert "realm_" not in read


async def test_an_asynchronous_call_finds_the_same(address: str) -> None:
    retriever = RealmRetriever(Connection(address), limit=3)
    assert described(await retriever.aretrieve(QUESTION)) == expected(address, limit=3)
    await retriever.connection.aclose()


def test_filters_are_passed_on(address: str) -> None:
    chosen = MetadataFilters(filters=[MetadataFilter(key="tenant", value="globex")])
    found = RealmRetriever(Connection(address), filters=chosen, limit=5).retrieve(QUESTION)
    assert found
    assert all(of_tenant(each.metadata, "globex") for each in found)


METADATA = {"lang": "en", "year": "1889"}


@pytest.mark.parametrize(
    ("operator", "key", "value", "passes"),
    [
        (FilterOperator.EQ, "lang", "en", True),
        (FilterOperator.EQ, "year", 1889.0, True),
        (FilterOperator.NE, "lang", "en", False),
        (FilterOperator.NE, "absent", "en", True),
        (FilterOperator.GT, "year", 1889, False),
        (FilterOperator.GTE, "year", 1889, True),
        (FilterOperator.LT, "year", 1890, True),
        (FilterOperator.LTE, "year", 1888, False),
        (FilterOperator.IN, "lang", ["de", "en"], True),
        (FilterOperator.IN, "year", [1888, 1889], True),
        (FilterOperator.NIN, "lang", ["de", "en"], False),
        (FilterOperator.IS_EMPTY, "absent", None, True),
        (FilterOperator.IS_EMPTY, "lang", None, False),
    ],
)
def test_operators_mean_what_they_say(
    operator: FilterOperator, key: str, value: object, passes: bool
) -> None:
    one = MetadataFilter(key=key, value=value, operator=operator)
    assert matches(to_filter(MetadataFilters(filters=[one])), METADATA) == passes


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        (FilterCondition.AND, False),
        (FilterCondition.OR, True),
        (FilterCondition.NOT, False),
        (None, False),
    ],
)
def test_conditions_and_nesting(condition: FilterCondition | None, passes: bool) -> None:
    inner = MetadataFilters(filters=[MetadataFilter(key="lang", value="en")])
    parts = [inner, MetadataFilter(key="year", value="1890")]
    assert (
        matches(to_filter(MetadataFilters(filters=parts, condition=condition)), METADATA) == passes
    )


def test_what_realm_has_no_operator_for_is_refused() -> None:
    one = MetadataFilter(key="lang", value="e", operator=FilterOperator.TEXT_MATCH)
    with pytest.raises(InvalidInput, match="text_match"):
        to_filter(MetadataFilters(filters=[one]))
