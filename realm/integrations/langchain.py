"""A retriever for LangChain (langchain-core 1.x)."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from realm.integrations.connection import Connection
from realm.integrations.passages import described
from realm.v1.retrieval_pb2 import RetrievePassagesResponse


class RealmRetriever(BaseRetriever):
    """Passages of a realm as LangChain's documents: `invoke`, `ainvoke`, `batch`, in chains.

    `options` are those of `realm.client.Client.search` (`limit`, `where`, `retrieval`, `rerank`,
    `at_least_version`, …); `invoke("a question", where="lang=en")` sets them for one question.
    """

    connection: Connection = Field(default_factory=Connection)
    options: dict[str, Any] = Field(default_factory=dict)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return _documents(self.connection.search(query, {**self.options, **options}))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        found = await self.connection.search_async(query, {**self.options, **options})
        return _documents(found)


def _documents(found: RetrievePassagesResponse) -> list[Document]:
    return [
        Document(id=passage.passage_id, page_content=passage.text, metadata=metadata)
        for passage, _, metadata in described(found)
    ]
