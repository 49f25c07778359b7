"""What language models may call, by the Model Context Protocol: searching, asking, reading a
document, the state of the index. Nothing of it writes.

The tools are one more client of a gateway: over standard input and output for `realm mcp`, over
HTTP in `services.web`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from google.protobuf import json_format
from google.protobuf.message import Message
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from realm import __version__
from realm.client import AsyncClient
from realm.errors import RealmError

INSTRUCTIONS = """A corpus of documents, cut into passages. `search` finds passages for a question;
`ask` reads them and gives the answer as it stands there, with its sources. Every response names the
index version that gave it. Cite a passage by its document_id and its character offsets start and
end, which count in the document that get_document gives."""

Question = Annotated[str, Field(description="A question or words, in any language.")]
Where = Annotated[
    list[str],
    Field(
        description="Only documents with this metadata, all must hold: key=value, key!=value,"
        " key=one|other, key>=2024-05-01 (>, <=, <), key, !key."
    ),
]
AtLeast = Annotated[
    int, Field(description="A corpus version that must be searched; 0: any.", ge=0, lt=2**63)
]
Found = dict[str, Any]


def unchanged(error: RealmError) -> RealmError:
    return error


def make_server(
    client: AsyncClient, told: Callable[[RealmError], RealmError] = unchanged
) -> MCPServer[Any]:
    """:param told: what a caller hears of an error."""
    server: MCPServer[Any] = MCPServer(
        "realm",
        version=__version__,
        instructions=" ".join(INSTRUCTIONS.split()),
        log_level="WARNING",
        subscriptions=False,
    )
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    async def plain(response: Awaitable[Message]) -> Found:
        """As JSON, with the names of the protos."""
        try:
            found = await response
        except RealmError as error:
            raise ToolError(told(error).message) from error
        return json_format.MessageToDict(found, preserving_proto_field_name=True)

    @server.tool(title="Search passages", annotations=reading)
    async def search(
        question: Question,
        limit: Annotated[int, Field(description="How many passages.", ge=1, le=100)] = 5,
        where: Where = [],  # noqa: B006
        at_least_version: AtLeast = 0,
    ) -> Found:
        """The passages that most likely help to answer a question, best first."""
        return await plain(
            client.search(
                question, limit=limit, where=where or None, at_least_version=at_least_version
            )
        )

    @server.tool(title="Ask a question", annotations=reading)
    async def ask(
        question: Question,
        answers: Annotated[int, Field(description="How many answers.", ge=1, le=10)] = 1,
        where: Where = [],  # noqa: B006
        at_least_version: AtLeast = 0,
    ) -> Found:
        """The most probable answers to a question, as they stand in passages, with their sources.
        No answer: the passages do not answer it."""
        return await plain(
            client.ask(
                question, answers=answers, where=where or None, at_least_version=at_least_version
            )
        )

    @server.tool(title="Get a document", annotations=reading)
    async def get_document(
        document_id: Annotated[str, Field(description="As search and ask name it.")],
    ) -> Found:
        """A document as it was last written, with its version."""
        return await plain(client.get(document_id))

    @server.tool(title="State of the index", annotations=reading)
    async def index_status() -> Found:
        """What is live, what is being built, how far the index lags behind the model."""
        return await plain(client.status())

    return server
