"""One channel to the gateway, blocking or asyncio: calls, streams, and gRPC's errors as ours."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from typing import Any, TypedDict, TypeVar, Unpack

import grpc

from realm.client import arguments
from realm.client.async_streams import AsyncQuestionStream
from realm.client.credentials import Key, Tls, bearer, check_confidential
from realm.client.hedging import Hedging
from realm.client.requests import async_batches, batches
from realm.client.streams import Deadline, Kind, One, QuestionStream
from realm.client.wire import channel_options, dial, from_rpc_error
from realm.errors import FailedPrecondition, InvalidInput
from realm.tracing.rpc import aio_interceptors, traced
from realm.v1 import (
    answer_pb2,
    answer_pb2_grpc,
    corpus_pb2,
    corpus_pb2_grpc,
    index_pb2,
    index_pb2_grpc,
    retrieval_pb2,
    retrieval_pb2_grpc,
    types_pb2,
)

Response = TypeVar("Response")

#: What the clients take many of; the asyncio one from asynchronous sources too.
Questions = Iterable[str]
Documents = Iterable[types_pb2.Document]
AsyncQuestions = Iterable[str] | AsyncIterable[str]
AsyncDocuments = Iterable[types_pb2.Document] | AsyncIterable[types_pb2.Document]


class ConnectionOptions(TypedDict, total=False):
    """Of a client, beside its gateway's address."""

    #: An API key or a token, or a function that gives the one that is valid by now.
    key: Key
    #: Certificates beyond the machine's own; the address is `https://` then.
    tls: Tls | None
    #: Whether the key may travel in plaintext to another machine.
    insecure: bool
    #: Further metadata of each call, such as `x-request-id`.
    metadata: Callable[[], Iterable[tuple[str, str]]]
    #: Seconds after which `search` and `ask` are sent to another gateway too, and the first answer
    #: counts: about what 95% of the calls take. 0: never.
    hedge_after: float


def no_metadata() -> tuple[tuple[str, str], ...]:
    return ()


class _Connection(ABC):
    """The services' stubs on a channel of either kind."""

    def __init__(self, address: str, **options: Unpack[ConnectionOptions]) -> None:
        target, credentials = dial(address, options.get("tls"))
        self._key = options.get("key", "")
        if self._key and not options.get("insecure"):
            check_confidential(address, encrypted=credentials is not None)
        self._more = options.get("metadata", no_metadata)
        seconds = arguments.seconds("hedge_after", options.get("hedge_after", 0.0))
        self._hedging = Hedging(seconds) if seconds else None
        self._peer = f"the gateway at {address}"
        self._channel = channel = self._open(target, credentials)
        self._closed = False
        self.retrieval = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        self.answers = answer_pb2_grpc.AnswerServiceStub(channel)
        self.corpus = corpus_pb2_grpc.CorpusServiceStub(channel)
        self.index = index_pb2_grpc.IndexServiceStub(channel)
        self._methods = {
            method.input_type.full_name: getattr(stub, method.name)
            for stub, described in (
                (self.retrieval, retrieval_pb2.DESCRIPTOR),
                (self.answers, answer_pb2.DESCRIPTOR),
                (self.corpus, corpus_pb2.DESCRIPTOR),
                (self.index, index_pb2.DESCRIPTOR),
            )
            for service in described.services_by_name.values()
            for method in service.methods
            if not (method.client_streaming or method.server_streaming)
        }

    @abstractmethod
    def _open(self, target: str, credentials: grpc.ChannelCredentials | None) -> Any:
        """A channel."""

    def method_of(self, request: Any) -> Any:
        """The method that takes such a request, and gives one response.

        :raises InvalidInput: if there is none.
        """
        kind = getattr(getattr(request, "DESCRIPTOR", None), "full_name", type(request).__name__)
        if kind not in self._methods:
            raise InvalidInput(f"no method takes a {kind} and gives one response", field="request")
        return self._methods[kind]

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        key = self._key if isinstance(self._key, str) else self._key()
        return (*bearer(key), *self._more())

    def _translate(self, error: BaseException, cancelled: bool = False) -> BaseException:
        """What to raise for an error that gRPC raised.

        :param cancelled: whether the caller was; a closed channel also cancels its calls.
        """
        if self._closed and not cancelled:
            return FailedPrecondition("this client is closed: make another one")
        return from_rpc_error(error, self._peer) if isinstance(error, grpc.RpcError) else error


class Transport(_Connection):
    """For the blocking client; thread-safe."""

    def _open(self, target: str, credentials: grpc.ChannelCredentials | None) -> Any:
        options = channel_options(target)
        channel = (
            grpc.insecure_channel(target, options=options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options=options)
        )
        return traced(channel)

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def call(
        self, method: Callable[..., Response], request: Any, timeout: float | None
    ) -> Response:
        try:
            return method(request, timeout=timeout, metadata=self._metadata)
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel is closed
            raise self._translate(error) from error

    def read(self, method: Any, request: Any, timeout: float | None) -> Any:
        """As `call`, of a method that changes nothing: it may be sent twice at once."""
        if self._hedging is None:
            return self.call(method, request, timeout)
        deadline, metadata = Deadline(timeout), self._metadata
        try:
            return self._hedging.call(
                lambda: method.future(request, timeout=deadline.seconds_left, metadata=metadata)
            )
        except (grpc.RpcError, ValueError) as error:
            raise self._translate(error) from error

    def stream(
        self, method: Callable[..., Any], request: Any, timeout: float | None
    ) -> Generator[Any, None, None]:
        responses = None
        try:
            responses = method(request, timeout=timeout, metadata=self._metadata)
            yield from responses
        except (grpc.RpcError, ValueError) as error:
            raise self._translate(error) from error
        finally:
            if responses is not None:
                responses.cancel()

    def questions(
        self, kind: Kind[One], questions: Questions, shared: Any, seconds: float | None
    ) -> QuestionStream[One]:
        checked = arguments.texts("questions", questions)
        return QuestionStream(kind, checked, shared, arguments.seconds("timeout", seconds))

    def batches(self, documents: Documents) -> Iterator[corpus_pb2.UpsertDocumentsRequest]:
        return batches(documents)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class AsyncTransport(_Connection):
    """For the asyncio client."""

    def _open(self, target: str, credentials: grpc.ChannelCredentials | None) -> Any:
        options, interceptors = channel_options(target), aio_interceptors()
        if credentials is None:
            return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
        return grpc.aio.secure_channel(
            target, credentials, options=options, interceptors=interceptors
        )

    async def close(self) -> None:
        self._closed = True
        await self._channel.close(None)

    async def call(
        self, method: Callable[..., Awaitable[Response]], request: Any, timeout: float | None
    ) -> Response:
        try:
            return await method(request, timeout=timeout, metadata=self._metadata)
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise self._translate(error, _caller_cancelled()) from error

    async def read(self, method: Any, request: Any, timeout: float | None) -> Any:
        """As `call`, of a method that changes nothing: it may be sent twice at once."""
        if self._hedging is None:
            return await self.call(method, request, timeout)
        deadline, metadata = Deadline(timeout), self._metadata
        try:
            return await self._hedging.call_async(
                lambda: method(request, timeout=deadline.seconds_left, metadata=metadata)
            )
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise self._translate(error, _caller_cancelled()) from error

    async def stream(
        self, method: Callable[..., Any], request: Any, timeout: float | None
    ) -> AsyncGenerator[Any, None]:
        responses = None
        try:
            responses = method(request, timeout=timeout, metadata=self._metadata)
            async for response in responses:
                yield response
        except (grpc.RpcError, grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise self._translate(error, _caller_cancelled()) from error
        finally:
            if responses is not None:
                responses.cancel()

    def questions(
        self, kind: Kind[One], questions: AsyncQuestions, shared: Any, seconds: float | None
    ) -> QuestionStream[One]:
        left = arguments.seconds("timeout", seconds)
        if isinstance(questions, AsyncIterable):
            return AsyncQuestionStream(kind, questions, shared, left)
        return QuestionStream(kind, arguments.texts("questions", questions), shared, left)

    async def batches(
        self, documents: AsyncDocuments
    ) -> AsyncIterator[corpus_pb2.UpsertDocumentsRequest]:
        if isinstance(documents, AsyncIterable):
            async for batch in async_batches(documents):
                yield batch
        else:
            for batch in batches(documents):
                yield batch

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _caller_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
