"""Whatever is given to a client is sent, or refused by name."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realm.client import document
from realm.client.wire import to_trailers
from realm.errors import DeadlinePassed, FailedPrecondition, InvalidInput
from tests.unit.client.clients import BOTH, KINDS

TIMEOUT = 20
KEA = document("kea", "Kea parrots live in alpine New Zealand.")

#: Each call, with a good value for each of its arguments; those after * go by name.
CALLS: dict[str, dict[str, Any]] = {
    "search": {
        "*question": "kea",
        "limit": 5,
        "at_least_version": 0,
        "retrieval": "bm25",
        "rerank": 0,
        "least_score": None,
    },
    "ask": {
        "*question": "kea",
        "passages": 5,
        "answers": 1,
        "at_least_version": 0,
        "retrieval": "",
    },
    "ask_many": {
        "*questions": ["kea"],
        "passages": 5,
        "answers": 1,
        "at_least_version": 0,
        "retrieval": "",
        "timeout": TIMEOUT,
    },
    "upsert": {"*documents": [KEA], "request_id": "one"},
    "delete": {"*document_ids": ["12"], "request_id": "two"},
    "get": {"*document_id": "12"},
    "import_documents": {"*documents": [KEA], "name": "four", "after": 0, "on_written": print},
    "status": {},
    "watch": {"timeout": TIMEOUT, "on_lost": print},
    "generations": {"limit": 5},
    "refresh": {"reason": "", "generation": 1, "force": False, "by": ""},
    "roll_back": {"reason": "", "request_id": "three"},
    "pause": {"*paused": True, "reason": ""},
}


class Refusing(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Reads each request to its end, counts it and refuses it."""

    def __init__(self) -> None:
        self.received = 0

    def service(self, _details: Any) -> Any:
        def refuse(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            self.received += 1
            list(requests)
            error = FailedPrecondition("received")
            context.set_trailing_metadata(to_trailers(error))
            context.abort(grpc.StatusCode[error.code], error.message)
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)


class Place:
    """A server that refuses all, and both clients of it."""

    def __init__(self, address: str, handler: Refusing, runner: asyncio.Runner) -> None:
        self.address = address
        self._handler = handler
        self._runner = runner
        self._clients = runner.run(self._open())

    async def _open(self) -> list[Any]:
        return [kind(self.address, timeout=TIMEOUT) for kind in KINDS.values()]

    def close(self) -> None:
        for client in self._clients:
            self._runner.run(client.close())

    def outcomes(self, name: str, given: dict[str, Any]) -> list[InvalidInput | None]:
        """How each client refuses the call; None: it was sent."""
        return [self._runner.run(self._outcome(each, name, given)) for each in self._clients]

    async def _outcome(self, client: Any, name: str, given: dict[str, Any]) -> InvalidInput | None:
        positional = [value for key, value in given.items() if key.startswith("*")]
        named = {key: value for key, value in given.items() if not key.startswith("*")}
        before = self._handler.received
        try:
            result = getattr(client, name)(*positional, **named)
            if hasattr(result, "__aiter__"):
                [each async for each in result]
            else:
                await result
        except InvalidInput as error:
            assert self._handler.received == before, "refused, but sent"
            return error
        except (FailedPrecondition, DeadlinePassed):
            return None
        return None  # nothing was to be sent: no documents to import


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    handler = Refusing()
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with asyncio.Runner() as runner:
        found = Place(f"127.0.0.1:{port}", handler, runner)
        yield found
        found.close()
    server.stop(0).wait()


def refused(place: Place, name: str, **changes: Any) -> set[str]:
    """The fields that the two clients name."""
    given = {key: value for key, value in CALLS[name].items() if key.startswith("*")}
    outcomes = place.outcomes(name, {**given, **changes})
    assert None not in outcomes, "one was sent"
    return {each.details["field"] for each in outcomes if each is not None}


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("delete", "document_ids"),
        ("ask_many", "questions"),
        ("upsert", "documents"),
        ("import_documents", "documents"),
    ],
)
@pytest.mark.parametrize("junk", ["12", "", b"12", None, 12, {"12": 1}, KEA])
def test_one_value_instead_of_a_list_is_refused(
    place: Place, name: str, argument: str, junk: Any
) -> None:
    assert refused(place, name, **{f"*{argument}": junk}) == {argument}


@pytest.mark.parametrize(
    ("name", "argument", "junk"),
    [
        ("search", "limit", -1),
        ("search", "limit", 99_999_999_999),
        ("search", "limit", 0),
        ("search", "limit", 2.5),
        ("search", "limit", True),
        ("search", "limit", 10**400),
        ("search", "at_least_version", 2**64),
        ("search", "at_least_version", -1),
        ("search", "retrieval", "vectors"),
        ("search", "rerank", -1),
        ("search", "rerank", True),
        ("search", "least_score", "1"),
        ("search", "least_score", math.nan),
        ("search", "retrieval", ["bm25"]),
        ("ask", "passages", None),
        ("ask", "answers", "1"),
        ("ask_many", "at_least_version", 2**64),
        ("ask_many", "timeout", math.nan),
        ("ask_many", "timeout", -1),
        ("watch", "timeout", "5"),
        ("generations", "limit", -5),
        ("refresh", "generation", -1),
        ("refresh", "force", "no"),
        ("roll_back", "reason", None),
        ("upsert", "request_id", 7),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(
    place: Place, name: str, argument: str, junk: Any
) -> None:
    assert refused(place, name, **{argument: junk}) == {argument}


def test_a_lone_surrogate_is_refused_by_name(place: Place) -> None:
    assert refused(place, "search", **{"*question": "\ud83d"}) == {"question"}
    assert refused(place, "delete", **{"*document_ids": ["a", "\ud83d"]}) == {"document_ids[1]"}
    assert refused(place, "ask_many", **{"*questions": ["\ud83d"]}) == {"questions[0]"}
    assert refused(place, "refresh", by="\udcff") == {"by"}


@pytest.mark.parametrize("metadata", [{"a": None}, {"a": 1}, {1: "a"}, ["a"], "a", {"a": "\ud83d"}])
def test_metadata_of_other_than_text_is_refused_by_name(metadata: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        document("x", "y", metadata=metadata)
    assert "metadata" in caught.value.details["field"]


@BOTH
@pytest.mark.parametrize("timeout", [math.nan, -1, -math.inf, "5", True, [], 1j])
async def test_an_invalid_timeout_is_refused_by_name(kind: Any, timeout: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        kind("127.0.0.1:1", timeout=timeout)
    assert caught.value.details["field"] == "timeout"


@BOTH
@pytest.mark.parametrize("timeout", [math.inf, 1e300, 10**400, None])
async def test_an_endless_timeout_is_no_deadline(place: Place, kind: Any, timeout: Any) -> None:
    async with kind(place.address, timeout=timeout) as client:
        with pytest.raises(FailedPrecondition):
            await client.status()


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**32, 2**63, 2**64, 10**4_000])
    | st.floats()
    | st.text(st.characters(), max_size=20)  # surrogates too
    | st.binary(max_size=20)
    | st.complex_numbers()
    | st.just(KEA)
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=3)
    ),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_junk_is_sent_or_refused_by_name_and_both_clients_agree(
    place: Place, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(CALLS)))
    given = {key: data.draw(st.just(value) | JUNK, label=key) for key, value in CALLS[name].items()}
    blocking, asynchronous = place.outcomes(name, given)
    assert (blocking is None) == (asynchronous is None)
    for error in (blocking, asynchronous):
        if error is not None:
            field = error.details["field"].split("[")[0]
            assert field in {key.removeprefix("*") for key in CALLS[name]}


def refusal(make: Callable[[], Any]) -> InvalidInput | None:
    try:
        make()
    except InvalidInput as error:
        return error
    return None


@given(JUNK, JUNK, JUNK, JUNK)
@settings(deadline=None)
def test_a_document_of_junk_is_made_or_refused_by_name(
    document_id: Any, text: Any, title: Any, metadata: Any
) -> None:
    error = refusal(lambda: document(document_id, text, title=title, metadata=metadata))
    assert error is None or error.details["field"]


@BOTH
@given(JUNK, JUNK)
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_a_client_of_junk_is_made_or_refused_by_name(kind: Any, address: Any, timeout: Any) -> None:
    async def open_and_close() -> None:
        async with kind(address, timeout=timeout):
            pass

    error = refusal(lambda: asyncio.run(open_and_close()))
    assert error is None or error.details["field"] in {"address", "timeout"}
