"""Connections to every peer of Qdrant; a call goes to another peer where one does not answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import structlog
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from realm.errors import BadSettings, DependencyUnavailable, NotFound, OutOfSpace
from realm.loopback import is_loopback
from realm.search.peers import Peers, share_of
from realm.search.vector_index import OnPeer, Peer
from realm.settings import Settings

#: The longest that a call takes.
TIMEOUT_SECONDS = 30
#: How long one peer may take over a call while there are others: a search of the gateway, a look,
#: a change. A peer gives up a replica that is frozen after some 10 s, and changes wait for that.
SEARCH_SECONDS, LOOK_SECONDS, CHANGE_SECONDS = 1.0, 3, 15
#: How long a peer that did not answer may take to show that it does again.
PROBE_SECONDS = 1
#: Without pings a connection to a machine that is gone lasts for a quarter of an hour.
PING_MS, PING_ANSWER_MS = 5_000, 3_000
#: Qdrant has no code of its own for a full disk.
NO_SPACE = re.compile(
    r"no space left|not enough (disk )?space|disk (is )?full|out of disk|quota exceeded"
    r"|exceeds available disk space",
    re.IGNORECASE,
)
#: What a call that was answered by an error raises, in a blocking and in an asyncio client.
ANSWERED = (grpc.Call, grpc.aio.AioRpcError)
#: Every peer says the same to such a request.
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.ALREADY_EXISTS,
}

T = TypeVar("T")

log = structlog.get_logger(__name__)


def addresses(settings: Settings) -> list[str]:
    """The peers' URLs. :raises BadSettings: if one is unusable."""
    given = [each.strip() for each in settings.addresses.qdrant_url.split(",")]
    for each in given:
        parts = urlsplit(each)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSettings(
                f"REALM_QDRANT_URL is {settings.addresses.qdrant_url!r}; give http://host:6334, the"
                " gRPC port, and of several peers each, separated by commas"
            )
    return given


def endpoint(settings: Settings, url: str = "", timeout: int = TIMEOUT_SECONDS) -> dict[str, Any]:
    """What a client is made of, a blocking or an asyncio one.

    :param url: the peer's; empty: the first one's.
    """
    parts = urlsplit(url or addresses(settings)[0])
    own = is_loopback(parts.hostname or "")
    options = {
        "grpc.keepalive_time_ms": PING_MS,
        "grpc.keepalive_timeout_ms": PING_ANSWER_MS,
        "grpc.http2.ping_timeout_ms": PING_ANSWER_MS,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.min_reconnect_backoff_ms": PING_ANSWER_MS,
        "grpc.max_reconnect_backoff_ms": PING_MS,
        # No proxy stands between this machine and itself.
        **({"grpc.enable_http_proxy": 0} if own else {}),
    }
    return {
        "grpc_options": options,
        **({"trust_env": False} if own else {}),  # of the client's other half, which speaks HTTP
        "host": parts.hostname,
        "grpc_port": parts.port or 6334,
        "https": parts.scheme == "https",
        "api_key": settings.addresses.qdrant_api_key or None,
        "timeout": timeout,
        "prefer_grpc": True,
        "check_compatibility": False,
    }


@contextmanager
def reachable() -> Iterator[None]:
    """Turns the client's errors into ours."""
    try:
        yield
    except grpc.RpcError as error:
        answered = isinstance(error, ANSWERED)
        code = error.code() if answered else grpc.StatusCode.UNAVAILABLE
        if code is grpc.StatusCode.NOT_FOUND:
            raise NotFound(f"Qdrant: {error.details()}") from error
        why = f"{code.name}: {error.details()}" if answered else str(error)
        details = {"refused": code.name} if code in REFUSED else {}
        raise _unavailable(why, **details) from error
    except (ApiException, ResponseHandlingException, OSError) as error:
        raise _unavailable(str(error)) from error


def _unavailable(why: str, **details: object) -> DependencyUnavailable:
    if NO_SPACE.search(why):
        return OutOfSpace(f"Qdrant has no space left: {why}")
    return DependencyUnavailable(f"Qdrant does not serve: {why}", **details)


def look_at_each(settings: Settings) -> list[Peer]:
    """Each peer's version, or why it does not answer. The key counts: collections are listed."""
    found = []
    for each in addresses(settings):
        client = QdrantClient(**endpoint(settings, each, LOOK_SECONDS))
        try:
            with reachable():
                client.get_collections()
                said = client.info()
            found.append(Peer(each, f"{said.title} {said.version}"))
        except DependencyUnavailable as error:
            found.append(Peer(each, fault=error.message))
        finally:
            client.close()
    return found


class Behind(Exception):
    """A peer answers from a copy that lacks some changes: another peer may have a newer one."""

    def __init__(self, answer: object, version: int) -> None:
        """:param version: up to which the copy has every change."""
        super().__init__(f"it has changes up to version {version} only")
        self.answer = answer
        self.version = version


class _Tried:
    """What one call met, peer after peer."""

    def __init__(self, peers: Peers[str]) -> None:
        self._peers = peers
        self._missing: list[int] = []
        self.failures: list[DependencyUnavailable] = []
        self._not_found: NotFound | None = None
        #: The newest answer of peers that lack changes.
        self.behind: Behind | None = None

    @contextmanager
    def at(self, place: int) -> Iterator[None]:
        """Within: the call to one peer. Its error is kept, unless no other peer can do better."""
        try:
            with reachable():
                yield
        except NotFound as error:
            # A peer may have lost its disk, or not know yet: the others are asked too.
            self._not_found = error
            self._missing.append(place)
        except Behind as error:
            if self.behind is None or self.behind.version < error.version:
                self.behind = error
            self._peers.failed(place, lags=True)
        except DependencyUnavailable as error:
            if "refused" in error.details:
                self._peers.answered(place)
                raise
            self.failures.append(error)
            if not isinstance(error, OutOfSpace):
                self._peers.failed(place)
        else:
            self._peers.answered(place)
            for each in self._missing:
                self._peers.failed(each)

    def error(self) -> NotFound | DependencyUnavailable:
        """Of a call that no peer could answer. What most of them lack is not there: a peer that
        lost its volume may be alone with its opinion, and one that is away decides nothing."""
        for each in self._missing:
            self._peers.answered(each)
        most_lack_it = 2 * len(self._missing) > len(self._peers.peers)
        if self._not_found is not None and (most_lack_it or not self.failures):
            return self._not_found
        full = [each for each in self.failures if isinstance(each, OutOfSpace)]
        return (full or self.failures)[0]


class _Watched(Peers[str]):
    """The peers' addresses; what becomes of them is logged, and told to who watches."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(addresses(settings), self._changed)
        self._on_peer: OnPeer = lambda peer, answers: None

    def watch(self, on_peer: OnPeer) -> None:
        """Has it told of every peer, and from then on of each change."""
        self._on_peer = on_peer
        for each in self.peers:
            on_peer(each, True)

    def _changed(self, peer: str, answers: bool) -> None:
        self._on_peer(peer, answers)
        if len(self.peers) == 1:
            return  # what the caller is told says as much
        if answers:
            log.info("qdrant_peer_answers_again", peer=peer)
        else:
            log.warning("qdrant_peer_does_not_answer", peer=peer)


class Connections:
    """Blocking clients. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self.watched = _Watched(settings)
        self._opened: list[QdrantClient] = []

        # A client has one deadline for most of its calls; those of one peer share a connection.
        @cache
        def client(place: int, seconds: int) -> QdrantClient:
            made = QdrantClient(**endpoint(settings, self.watched.peers[place], seconds))
            self._opened.append(made)
            return made

        self._client = client
        client(0, TIMEOUT_SECONDS)

    def look(self, call: Callable[[QdrantClient], T]) -> T:
        """:param call: it may raise `Behind`: if every peer lacks changes, the newest such answer
            is returned.
        :raises NotFound: if no peer has what is asked for.
        :raises DependencyUnavailable: if no peer answers."""
        return self._call(call, LOOK_SECONDS)

    def change(self, call: Callable[[QdrantClient], T]) -> T:
        """As `look`, of a call that may be made twice."""
        return self._call(call, CHANGE_SECONDS)

    def each(self, call: Callable[[QdrantClient], T]) -> list[T]:
        """What every peer says that answers and has what is asked for."""
        said: list[T] = []
        for place in range(len(self.watched.peers)):
            if not self.watched.answers(place):
                continue
            tried = _Tried(self.watched)
            with tried.at(place):
                said.append(call(self._client(place, LOOK_SECONDS)))
        return said

    def close(self) -> None:
        for each in self._opened:
            each.close()

    def _call(self, call: Callable[[QdrantClient], T], most: int) -> T:
        tried = _Tried(self.watched)
        order = self.watched.order()
        for place in order:
            seconds = TIMEOUT_SECONDS if place == order[-1] else most
            with tried.at(place):
                if place != order[-1] and not self.watched.answers(place):
                    # Lest a whole change wait for a peer that is away still.
                    self._client(place, PROBE_SECONDS).get_collections()
                return call(self._client(place, seconds))
        if tried.behind is not None and not tried.failures:
            return cast(T, tried.behind.answer)
        raise tried.error()


class AsyncConnections:
    """Clients for the event loop."""

    def __init__(self, settings: Settings) -> None:
        self.watched = _Watched(settings)
        self._clients = [
            AsyncQdrantClient(**endpoint(settings, each)) for each in self.watched.peers
        ]

    async def search(
        self, call: Callable[[AsyncQdrantClient, int, int], Awaitable[T]], timeout: float
    ) -> T:
        """:param call: with a client, the place of its peer and whole seconds; it may raise
            `Behind`: if no other peer does better, the newest such answer is returned.
        :param timeout: seconds in all; no one peer may take more than a second of them while there
            are others.
        :raises NotFound: if no peer has what is asked for.
        :raises DependencyUnavailable: if no peer answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        tried = _Tried(self.watched)
        order = self.watched.order()
        for place in order:
            left = deadline - loop.time()
            seconds = share_of(left, SEARCH_SECONDS, others=place != order[-1])
            with tried.at(place):
                try:
                    async with asyncio.timeout(None if place == order[-1] else seconds):
                        return await call(self._clients[place], place, max(1, round(seconds)))
                except TimeoutError:
                    # An OSError, too; to `reachable` this one has a name.
                    raise DependencyUnavailable(
                        f"{self.watched.peers[place]} gave no answer in {seconds:.1f} s"
                    ) from None
        if tried.behind is not None:
            return cast(T, tried.behind.answer)
        raise tried.error()

    async def close(self) -> None:
        for each in self._clients:
            await each.close()
