"""The clients of a retriever: a blocking one, and an asyncio one for each event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from realm.client import AsyncClient, Client, Tls
from realm.client.credentials import Key
from realm.client.requests import DEFAULT_ADDRESS, DEFAULT_SECONDS
from realm.v1.retrieval_pb2 import RetrievePassagesResponse


class Connection:
    """Connects to one gateway when it is first asked. Thread-safe.

    Arguments are those of `realm.client.Client`.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        key: Key = "",
        tls: Tls | None = None,
        insecure: bool = False,
        timeout: float | None = DEFAULT_SECONDS,
    ) -> None:
        self.address = address
        self._given: dict[str, Any] = {
            "key": key, "tls": tls, "insecure": insecure, "timeout": timeout
        }  # fmt: skip
        self._lock = threading.Lock()
        self._blocking: Client | None = None
        self._of_loops: dict[asyncio.AbstractEventLoop, AsyncClient] = {}

    def search(self, question: str, options: dict[str, Any]) -> RetrievePassagesResponse:
        """:param options: of `realm.client.Client.search`.
        :raises RealmError: as that does.
        """
        with self._lock:
            if self._blocking is None:
                self._blocking = Client(self.address, **self._given)
        return self._blocking.search(question, **options)

    async def search_async(
        self, question: str, options: dict[str, Any]
    ) -> RetrievePassagesResponse:
        """As `search`."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [each for each in self._of_loops if each.is_closed()]:
                del self._of_loops[ended]
            if loop not in self._of_loops:
                self._of_loops[loop] = AsyncClient(self.address, **self._given)
            client = self._of_loops[loop]
        return await client.search(question, **options)

    def close(self) -> None:
        """Closes the blocking client."""
        with self._lock:
            if self._blocking is not None:
                self._blocking.close()
            self._blocking = None

    async def aclose(self) -> None:
        """Closes the client of the running event loop, and the blocking one."""
        with self._lock:
            client = self._of_loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        self.close()
