"""Domain errors as gRPC carries them, both ways, and the settings of channels and servers.

The one mapping between `RealmError` and `google.rpc.Status`. Needs gRPC alone: the bare client
uses it; `realm.process.rpc` adds what only servers need.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from realm.client.credentials import Tls
from realm.errors import (
    Conflict,
    Corrupt,
    DeadlinePassed,
    DependencyUnavailable,
    FailedPrecondition,
    Forbidden,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    RealmError,
    Unauthenticated,
    Unreachable,
    Unsupported,
)
from realm.loopback import is_loopback

DOMAIN = "realm"
MESSAGE_BYTES = 16 << 20
KEEPALIVE_MS = 30_000
#: Between two attempts to reach a server that is gone: calls may fail so long after it is back.
RECONNECT_MS = 1_000
CONNECTION_AGE_MS = 600_000
#: Calls that a server has not looked at yet: beyond the first number it sends some of them back,
#: beyond the second all, without a word of Python. gRPC's own are 1,000 and 3,000, which is seconds
#: of work; 256 at once are no burst yet.
PENDING_CALLS, MOST_PENDING_CALLS = 320, 640
HTTPS, HTTP = "https://", "http://"
#: A failed attempt takes one, a success gives one back; a process whose channels to a server have
#: half of them left, or less, tries no call again: in an outage retries are load and nothing else.
RETRY_TOKENS = 500
#: After so long the same call may end better, if it may at all.
RETRY_SECONDS = 0.5
STATUS_KEY = "grpc-status-details-bin"
#: What grpc.aio says, in place of the other side's status, when a write came after its end.
WRITE_FAILED = "Internal error from Core"
PUSHBACK_KEY = "grpc-retry-pushback-ms"

Options = list[tuple[str, Any]]
Metadata = tuple[tuple[str, str | bytes], ...]


def server_options() -> Options:
    """What every server of ours is made with."""
    return [
        *_message_limits(),
        # A second process on the same port is a mistake to report, not to share the load with.
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", MOST_PENDING_CALLS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
        # Clients look the name up again when a connection ends: that is how they find replicas.
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
    ]


def channel_options(address: str = "", *, retries: bool = True) -> Options:
    """What every channel of ours is made with: all replicas in turn, retries, keep-alive, and no
    proxy where the address is this machine's own.

    :param retries: False where the caller tries again by itself: two layers would multiply.
    """
    return [
        *_message_limits(),
        *_around_proxies(address),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 2 * KEEPALIVE_MS // 3),
        # gRPC waits as long for the answer to a ping, else a minute, whatever the line above says.
        ("grpc.http2.ping_timeout_ms", 2 * KEEPALIVE_MS // 3),
        # A watch without news lasts: a peer that is cut off is to be noticed there too.
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_service_config(retries))),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
    ]


def dial(address: str, tls: Tls | None = None) -> tuple[str, grpc.ChannelCredentials | None]:
    """gRPC's target of an address, and how to trust it: `https://host[:443]` speaks TLS, whatever
    has no scheme plaintext.

    :raises InvalidInput: if `tls` has files that cannot be read, or the address speaks plaintext.
    """
    host = address.removeprefix(HTTPS)
    if host == address:
        if tls is not None:
            raise InvalidInput(f"{address} speaks plaintext: write https://", field="tls")
        return address.removeprefix(HTTP), None
    has_port = host.rpartition(":")[2].isdecimal()
    return host if has_port else f"{host}:443", (tls or Tls()).credentials()


def to_status(error: RealmError) -> status_pb2.Status:
    """The error with its reason, its details and, for a bad field, which one it was."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.details)
    details = [_packed(info)]
    if isinstance(error, InvalidInput) and (field := error.details.get("field")):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=field, description=error.message
        )
        details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if may_pass(error):
        retry = error_details_pb2.RetryInfo()
        pause = float(error.details.get("retry_seconds", RETRY_SECONDS))
        retry.retry_delay.FromNanoseconds(int(pause * 1e9))
        details.append(_packed(retry))
    code: int = grpc.StatusCode[error.code].value[0]
    return status_pb2.Status(code=code, message=error.message, details=details)


def to_trailers(error: RealmError) -> Metadata:
    """The trailing metadata of a call that ends with this error."""
    trailers: Metadata = ((STATUS_KEY, to_status(error).SerializeToString()),)
    if "waited" in error.details:
        # The deadline went into waiting: a retry would end as a bare DEADLINE_EXCEEDED.
        return (*trailers, (PUSHBACK_KEY, "-1"))
    return trailers


def from_rpc_error(error: grpc.RpcError, peer: str = "the server") -> RealmError:
    """The error that the other side raised; `peer` names that side where it said nothing itself.

    Of the same class if the other side is realm; else by the gRPC code.
    """
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return DependencyUnavailable(f"the call to {peer} failed: {error}")
    for status in _statuses(error.trailing_metadata() or ()):
        if (known := from_status(status)) is not None:
            return known
    code = error.code()
    words = error.details() or "no reason given"
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return Unreachable(f"{peer} cannot be reached: {words}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlinePassed(f"{peer} did not answer before the deadline")
        case grpc.StatusCode.INTERNAL if words == WRITE_FAILED:
            return DependencyUnavailable(f"{peer} ended the call while it was written to")
        case grpc.StatusCode.CANCELLED:
            return Overloaded(f"{peer} ends, or has too many calls to look at this one; try again")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(f"{peer} refused the call: {words}")
    kind = _BY_CODE.get(code.name, RealmError)
    return kind(f"{peer} answered {code.name}: {words}")


def from_status(status: status_pb2.Status) -> RealmError | None:
    """The error inside a `google.rpc.Status`; None if realm did not make it."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            kind = _by_reason().get(info.reason, RealmError)
            return kind(status.message, **dict(info.metadata))
    return None


def may_pass(error: RealmError) -> bool:
    """Whether the same call may end better in a moment; not where the server has waited already,
    for as long as it may."""
    passing = isinstance(error, NotReady | DependencyUnavailable | Overloaded)
    return passing and "waited" not in error.details


def retry_seconds(status: status_pb2.Status) -> float:
    """How long to wait before the next try; 0 if it is not said."""
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            return float(retry.retry_delay.ToNanoseconds() / 1e9)
    return 0.0


_BY_CODE: dict[str, type[RealmError]] = {
    kind.code: kind
    for kind in (
        InvalidInput,
        NotFound,
        Unauthenticated,
        Forbidden,
        Conflict,
        FailedPrecondition,
        Unsupported,
        Corrupt,
    )
}


def _by_reason() -> dict[str, type[RealmError]]:
    # A part of the program may have errors of its own; they do not travel under their names.
    return {
        kind.reason: kind
        for kind in RealmError.__subclasses__()
        if kind.__module__ == RealmError.__module__
    }


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _statuses(metadata: Iterable[Any]) -> Iterator[status_pb2.Status]:
    for key, value in metadata:
        if key == STATUS_KEY:
            yield status_pb2.Status.FromString(value)


def _around_proxies(address: str) -> Options:
    return [("grpc.enable_http_proxy", 0)] if is_loopback(address) else []


def _message_limits() -> Options:
    return [
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ]


def _service_config(retries: bool) -> dict[str, Any]:
    """Reads and writes may be repeated (writes carry a request id); a rollback may not be."""
    balancing: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if not retries:
        return balancing
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        # CANCELLED, by the other side: a call that it had not looked at when it ended, or for which
        # it had no place. A caller that cancels ends all attempts.
        "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
    }
    return {
        **balancing,
        # gRPC reads a whole number as a ratio of 0: the decimal point counts.
        "retryThrottling": {"maxTokens": RETRY_TOKENS, "tokenRatio": 1.0},
        "methodConfig": [
            {
                "name": [
                    {"service": "realm.v1.IndexService", "method": "RollBackIndex"},
                    # The next report comes by itself.
                    {"service": "realm.internal.v1.ServingReportService"},
                ]
            },
            {"name": [{}], "retryPolicy": retry},
        ],
    }
