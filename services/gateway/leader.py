"""Calls of the leading indexer: its address is what the store's newest term says, else the setting.

The store decides, not the indexers: one that sleeps through its own end would not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_fixed

from realm.client.credentials import Tls, bearer, check_confidential
from realm.client.wire import HTTPS, channel_options, dial, from_rpc_error
from realm.errors import (
    BadSettings,
    DependencyUnavailable,
    InvalidInput,
    NotReady,
    Overloaded,
    RealmError,
    Unauthenticated,
)
from realm.internal.v1 import serving_pb2_grpc
from realm.process.rpc import REQUEST_ID, remaining
from realm.settings.access import Access
from realm.tracing.rpc import aio_interceptors
from realm.v1 import corpus_pb2_grpc, index_pb2_grpc
from services.gateway.waiting import items_until, wait_for_event

#: Time for calls in progress at the old leader to end.
GRACE_SECONDS = 5.0
#: Longest wait for one call; a group commit takes a fraction of a second.
CALL_SECONDS = 60.0
#: Between two calls while there is no leader.
PAUSE_SECONDS = 0.2
#: The metadata of a caller that the indexer gets: what to call the call, and its trace.
FORWARDED = frozenset({REQUEST_ID, "traceparent", "tracestate"})

log = structlog.get_logger(__name__)


class LeaderChannel:
    """Stubs of the leader's services, replaced when another indexer leads. For the event loop."""

    def __init__(self, default: str, access: Access) -> None:
        """:param default: gRPC target while no term names one; if it is `https://`, all indexers
            speak TLS and have certificates for its host.
        :raises BadSettings: if the service key would travel in plaintext, or a certificate cannot
            be read.
        """
        self._default = default
        self._encrypted = default.startswith(HTTPS)
        self._tls = Tls(access.tls_authority, access.tls_certificate, access.tls_private_key)
        #: By which the indexer knows this gateway.
        self.credentials = bearer(access.service_key)
        self._shutdown: set[asyncio.Task[None]] = set()
        self._connected_with: list[tuple[int, int]] = []
        try:
            if access.service_key and not access.insecure:
                check_confidential(default, self._encrypted)
            self._connect(default)
        except InvalidInput as error:
            raise BadSettings(f"the indexer cannot be called: {error}") from error

    def connect(self, address: str) -> None:
        """:param address: the newest term's; empty if there is none."""
        renewed = self._files() != self._connected_with
        if (address or self._default) == self.address and not renewed:
            return
        channel, changed, before = self._channel, self.changed, self.address
        try:
            self._connect(address or self._default)
        except InvalidInput as error:
            log.error("certificate_not_renewed", why=error.message)
            return
        log.info("leader_changed", before=before, now=self.address)
        changed.set()
        closing = asyncio.create_task(channel.close(GRACE_SECONDS))
        self._shutdown.add(closing)
        closing.add_done_callback(self._shutdown.discard)

    async def close(self) -> None:
        await self._channel.close(None)
        await asyncio.gather(*self._shutdown, return_exceptions=True)

    def _connect(self, address: str) -> None:
        """:raises InvalidInput: if a certificate cannot be read."""
        files = self._files()
        self._channel = self._open(address)
        self.address, self._connected_with = address, files
        #: Set when these stubs are no longer the leader's.
        self.changed = asyncio.Event()
        self.corpus = corpus_pb2_grpc.CorpusServiceStub(self._channel)
        self.index = index_pb2_grpc.IndexServiceStub(self._channel)
        self.serving = serving_pb2_grpc.ServingReportServiceStub(self._channel)

    def _open(self, address: str) -> grpc.aio.Channel:
        interceptors = aio_interceptors()
        if not self._encrypted:
            return grpc.aio.insecure_channel(
                address, options=channel_options(address, retries=False), interceptors=interceptors
            )
        target, credentials = dial(HTTPS + address.removeprefix(HTTPS), self._tls)
        assert credentials is not None
        # Whichever indexer leads: its address may be a pod's, of which no certificate knows.
        name = urlsplit(self._default).hostname
        options = [*channel_options(target, retries=False), ("grpc.ssl_target_name_override", name)]
        return grpc.aio.secure_channel(
            target, credentials, options=options, interceptors=interceptors
        )

    def _files(self) -> list[tuple[int, int]]:
        """Changes when somebody replaces a certificate."""
        if not self._encrypted:
            return []
        paths = (self._tls.authority, self._tls.certificate, self._tls.private_key)
        try:
            found = [Path(each).stat() for each in paths if each]
        except OSError:  # somebody is replacing it
            return self._connected_with
        return [(each.st_mtime_ns, each.st_ino) for each in found]


#: A method of the leader's stubs.
Pick = Callable[[LeaderChannel], Any]


class Forwarder:
    """Calls the leader's methods on behalf of a caller, and again when another one leads."""

    def __init__(self, leader: LeaderChannel, wait_seconds: float) -> None:
        """:param wait_seconds: how long a call waits for a leader."""
        self.leader = leader
        self._wait_seconds = wait_seconds

    @property
    def peer(self) -> str:
        return f"the indexer at {self.leader.address}"

    async def call(
        self,
        pick: Pick,
        request: Any,
        context: Any,
        *,
        most: float | None = None,
        again: bool = True,
    ) -> Any:
        """What the leader answers; waits while there is no leader.

        :param most: seconds; None: as a call takes, or as it may wait for a leader.
        :param again: whether it may be called twice: if it changes nothing, or nothing more under
            its request id.
        :raises RealmError: as the indexer raised it.
        """
        loop = asyncio.get_running_loop()
        if most is None:
            most = max(CALL_SECONDS, self._wait_seconds)
        seconds = remaining(context, most)
        ends = loop.time() + seconds

        async def attempt() -> Any:
            call = self._call_once(pick, request, context, ends - loop.time())
            return await (self._until_leader_changes(call) if again else call)

        def may_retry(error: BaseException) -> bool:
            if not isinstance(error, NotReady | DependencyUnavailable):
                return False
            # A standby that refused has done nothing.
            harmless = again or "leader" in error.details
            return harmless and "waited" not in error.details

        retrying = AsyncRetrying(
            retry=retry_if_exception(may_retry),
            stop=stop_after_delay(min(seconds - PAUSE_SECONDS, self._wait_seconds)),
            wait=wait_fixed(PAUSE_SECONDS),
            sleep=self._wait_for_change,
            reraise=True,
        )
        return await retrying(attempt)

    async def _wait_for_change(self, seconds: float) -> None:
        await wait_for_event(self.leader.changed, seconds)

    async def _call_once(self, pick: Pick, request: Any, context: Any, seconds: float) -> Any:
        try:
            return await pick(self.leader)(
                request, timeout=max(0.0, seconds), metadata=self._metadata(context)
            )
        except grpc.RpcError as error:
            raise self._error(error) from error
        except asyncio.CancelledError:
            # Closing a leader's channel cancels its calls and their callers.
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise NotReady(
                "the indexer lost its lead before it answered: `realm status` shows what it did"
            ) from None

    async def stream(self, pick: Pick, request: Any, context: Any) -> AsyncIterator[Any]:
        """What the leader streams, continued with the next leader's stream.

        :raises RealmError: if no leader streams anything for as long as a call waits.
        """
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        while True:
            changed = self.leader.changed
            responses = pick(self.leader)(
                request, timeout=context.time_remaining(), metadata=self._metadata(context)
            )
            try:
                items = items_until(
                    changed, aiter(responses), "another indexer leads", self._wait_seconds
                )
                async for response in items:
                    give_up_at = None
                    yield response
                error: RealmError = NotReady("the indexer ended the stream; call again")
            except grpc.RpcError as raised:
                error = self._error(raised)
            except NotReady as raised:
                error = raised
            finally:
                responses.cancel()
            give_up_at = give_up_at or loop.time() + self._wait_seconds
            transient = isinstance(error, NotReady | DependencyUnavailable)
            if not transient or loop.time() >= give_up_at:
                raise error
            await wait_for_event(changed, PAUSE_SECONDS)

    def _error(self, raised: grpc.RpcError) -> RealmError:
        """As the indexer raised it; unless it refuses this gateway, which no caller can help."""
        error = from_rpc_error(raised, self.peer)
        if isinstance(error, Unauthenticated):
            log.error("indexer_refuses_this_gateway", why=error.message)
            return DependencyUnavailable("the indexer does not know this gateway: see its log")
        if isinstance(error, Overloaded) and raised.code() is grpc.StatusCode.CANCELLED:
            return NotReady(f"{self.peer} ends, and did not look at the call")
        return error

    def _metadata(self, context: Any) -> tuple[tuple[str, str | bytes], ...]:
        return (*_forwarded(context), *self.leader.credentials)

    async def _until_leader_changes(self, attempt: Coroutine[Any, Any, Any]) -> Any:
        """A stopped leader never answers: when another leads, the call is given up."""
        moved = asyncio.ensure_future(self.leader.changed.wait())
        answer = asyncio.ensure_future(attempt)
        try:
            await asyncio.wait({answer, moved}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise NotReady("another indexer leads now", leader=self.leader.address)
        finally:
            moved.cancel()
            answer.cancel()


def _forwarded(context: Any) -> tuple[tuple[str, str | bytes], ...]:
    """What the indexer gets of a caller's metadata: nothing that it did not ask for."""
    return tuple(
        (key, value) for key, value in context.invocation_metadata() or () if key in FORWARDED
    )
