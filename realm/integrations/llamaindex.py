"""A retriever for LlamaIndex (llama-index-core 0.14)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilters

from realm.filters import any_of, none_of
from realm.integrations import conditions
from realm.integrations.connection import Connection
from realm.integrations.passages import PREFIX, described
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from realm.v1.types_pb2 import Filter

_COMBINE: dict[FilterCondition, Callable[..., Filter]] = {
    FilterCondition.AND: conditions.all_of,
    FilterCondition.OR: any_of,
    FilterCondition.NOT: none_of,
}


class RealmRetriever(BaseRetriever):
    """Passages of a realm as LlamaIndex's nodes: `retrieve`, `aretrieve`, in query engines.

    What realm adds to a node's metadata is kept from language models and embeddings.
    """

    def __init__(
        self,
        connection: Connection | None = None,
        *,
        filters: MetadataFilters | None = None,
        callback_manager: CallbackManager | None = None,
        **options: Any,
    ) -> None:
        """:param options: of `realm.client.Client.search`, such as `limit`, `rerank`, and `where`
            in place of `filters`.
        :raises InvalidInput: if realm cannot apply a filter.
        """
        super().__init__(callback_manager=callback_manager)
        self.connection = connection or Connection()
        self.options = options if filters is None else {**options, "where": to_filter(filters)}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self.connection.search(query_bundle.query_str, self.options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = await self.connection.search_async(query_bundle.query_str, self.options)
        return _nodes(found)


def to_filter(given: MetadataFilters) -> Filter:
    """:raises InvalidInput: if realm cannot apply it."""
    parts = [
        to_filter(each) if isinstance(each, MetadataFilters) else _condition(each)
        for each in given.filters
    ]
    return _COMBINE[given.condition or FilterCondition.AND](*parts)


def _condition(given: Any) -> Filter:
    if given.operator == FilterOperator.IS_EMPTY:
        return none_of(conditions.exists(given.key))
    operator = "not in" if given.operator == FilterOperator.NIN else given.operator.value
    return conditions.condition(given.key, operator, given.value)


def _nodes(found: RetrievePassagesResponse) -> list[NodeWithScore]:
    nodes = []
    for passage, score, metadata in described(found):
        ours = [name for name in metadata if name.startswith(PREFIX)]
        node = TextNode(
            id_=passage.passage_id,
            text=passage.text,
            metadata=metadata,
            start_char_idx=passage.start,
            end_char_idx=passage.end,
            excluded_llm_metadata_keys=ours,
            excluded_embed_metadata_keys=ours,
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=passage.document_id)},
        )
        nodes.append(NodeWithScore(node=node, score=score))
    return nodes
