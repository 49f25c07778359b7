"""Where Qdrant is, and what its client's errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from realm.errors import BadSettings, DependencyUnavailable, NotFound, OutOfSpace
from realm.loopback import is_loopback
from realm.settings import Settings

TIMEOUT_SECONDS = 30
#: Qdrant has no code of its own for a full disk.
NO_SPACE = re.compile(
    r"no space left|not enough (disk )?space|disk (is )?full|out of disk|quota exceeded"
    r"|exceeds available disk space",
    re.IGNORECASE,
)


def endpoint(settings: Settings) -> dict[str, Any]:
    """What a client is made of, a blocking or an asyncio one."""
    parts = urlsplit(settings.addresses.qdrant_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadSettings(
            f"REALM_QDRANT_URL is {settings.addresses.qdrant_url!r};"
            " give http://host:6334, the gRPC port"
        )
    own = is_loopback(parts.hostname)
    return {
        # No proxy stands between this machine and itself; the client's other half speaks HTTP.
        **({"grpc_options": {"grpc.enable_http_proxy": 0}, "trust_env": False} if own else {}),
        "host": parts.hostname,
        "grpc_port": parts.port or 6334,
        "https": parts.scheme == "https",
        "api_key": settings.addresses.qdrant_api_key or None,
        "timeout": TIMEOUT_SECONDS,
        "prefer_grpc": True,
        "check_compatibility": False,
    }


#: What a call that was answered by an error raises, in a blocking and in an asyncio client.
ANSWERED = (grpc.Call, grpc.aio.AioRpcError)


@contextmanager
def reachable() -> Iterator[None]:
    """Turns the client's errors into ours."""
    try:
        yield
    except grpc.RpcError as error:
        if isinstance(error, ANSWERED) and error.code() == grpc.StatusCode.NOT_FOUND:
            raise NotFound(f"Qdrant: {error.details()}") from error
        answered = isinstance(error, ANSWERED)
        why = f"{error.code().name}: {error.details()}" if answered else str(error)
        raise _unavailable(why) from error
    except (ApiException, ResponseHandlingException, OSError) as error:
        raise _unavailable(str(error)) from error


def _unavailable(why: str) -> DependencyUnavailable:
    if NO_SPACE.search(why):
        return OutOfSpace(f"Qdrant has no space left: {why}")
    return DependencyUnavailable(f"Qdrant does not serve: {why}")
