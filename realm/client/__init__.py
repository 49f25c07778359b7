"""The client: search, answers, writes and the index over gRPC.

Needs gRPC, protobuf and tenacity alone.

>>> from realm.client import Client, document
>>> with Client("127.0.0.1:50051") as client:
...     version = client.upsert([document("eiffel", "Gustave Eiffel's company built it.")])
...     answer = client.ask("who built it?", at_least_version=version.corpus_version)
...     print([each.text for each in answer.answers], answer.index_version.generation)

`AsyncClient` has the same methods for asyncio. Results are the messages of `realm.v1`; errors are
those of `realm.errors`, and `InvalidInput` names the argument that cannot be sent. Every call has
a deadline and is retried while the service is unavailable; writes carry a request id, so that a
write sent twice is one write. With a `Session`, no answer is older than what its user has seen.
`key` and `tls` are what a gateway beyond this machine asks for.
`where` bounds what is searched, listed or deleted by documents' metadata:
`client.ask("who built it?", where=["lang=en", "year>=1880"])`.
"""

from realm.client.aio import AsyncClient
from realm.client.blocking import Client
from realm.client.credentials import Tls
from realm.client.requests import document
from realm.client.session import Session
from realm.client.streams import Found, Reply
from realm.filters import any_of, none_of, where

__all__ = [
    "AsyncClient",
    "Client",
    "Found",
    "Reply",
    "Session",
    "Tls",
    "any_of",
    "document",
    "none_of",
    "where",
]
