"""A retriever for Haystack (haystack-ai 3.x)."""

from __future__ import annotations

from typing import Any

from haystack import Document, component
from haystack.utils import Secret

from realm.client.requests import DEFAULT_ADDRESS
from realm.errors import InvalidInput
from realm.filters import any_of, none_of
from realm.integrations import conditions
from realm.integrations.connection import Connection
from realm.integrations.passages import described
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import Filter

DEFAULT_TOP_K = 5


@component
class RealmRetriever:
    """Passages of a realm as Haystack's documents, in pipelines, synchronous and asynchronous.

    It is written to YAML and read again with the name of its key's variable, never with the key.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: Secret | None = None,
        top_k: int = DEFAULT_TOP_K,
        filters: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        """:param api_key: for a gateway that asks for one.
        :param filters: Haystack's; those of a run take their place.
        :param options: further ones of `realm.client.Client.search`, such as `rerank`.
        """
        self.address = address
        self.api_key = api_key
        self.top_k = top_k
        self.filters = filters
        self.options = options or {}
        key = (api_key.resolve_value() or "") if api_key else ""
        self.connection = Connection(address, key=key)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """:raises InvalidInput: if realm cannot apply a filter."""
        return _documents(self.connection.search(query, self._asked(filters, top_k)))

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """As `run`."""
        found = await self.connection.search_async(query, self._asked(filters, top_k))
        return _documents(found)

    def _asked(self, filters: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
        asked = {**self.options, "limit": top_k or self.top_k}
        chosen = filters or self.filters
        return {**asked, "where": to_filter(chosen)} if chosen else asked


def to_filter(given: dict[str, Any]) -> Filter:
    """:raises InvalidInput: if it is none of Haystack's, or realm cannot apply it."""
    try:
        operator = given["operator"]
        if "conditions" in given:
            parts = [to_filter(each) for each in given["conditions"]]
            match operator:
                case "AND":
                    return conditions.all_of(*parts)
                case "OR":
                    return any_of(*parts)
                case "NOT":
                    return none_of(conditions.all_of(*parts))
        key = given["field"].removeprefix("meta.")
        return conditions.condition(key, operator, given["value"])
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{given!r} is no filter: give field, operator and value, or operator and conditions",
            field="filters",
        ) from error


def _documents(found: RetrievePassagesResponse) -> dict[str, list[Document]]:
    documents = [
        Document(id=passage.passage_id, content=passage.text, meta=metadata, score=score)
        for passage, score, metadata in described(found)
    ]
    return {"documents": documents}
