"""A client of toxiproxy's HTTP API: proxies of TCP connections that can be made to fail."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any
from urllib.request import Request, urlopen

from realm.errors import DependencyUnavailable

TIMEOUT_SECONDS = 10.0
#: It forwards what it held back as soon as it is healed, as TCP does.
FOREVER_MS = 24 * 3600 * 1000
UNLIMITED_KILOBYTES = 10**9


class Direction(StrEnum):
    """`upstream` goes from the client to the server."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class Toxiproxy:
    """Each method takes effect at once, on open connections too.

    Every proxy keeps its toxics, and they change: to remove one, toxiproxy 2.12 sends all that
    it held back first, and where the receiver is gone it waits for ever, with the proxy locked.

    :raises DependencyUnavailable: if toxiproxy does not answer, or refuses.
    """

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"
        self._narrow: set[str] = set()

    def add(self, name: str, listen: str, upstream: str) -> None:
        self._call("POST", "/proxies", name=name, listen=listen, upstream=upstream)
        for direction in Direction:
            self._add_toxic(name, "latency", direction, latency=0, jitter=0)
            self._add_toxic(name, "bandwidth", direction, rate=UNLIMITED_KILOBYTES)

    def refuse(self, name: str) -> None:
        """Closes all connections, and refuses new ones."""
        self._call("POST", f"/proxies/{name}", enabled=False)

    def hold(self, name: str, direction: Direction) -> None:
        """Lets nothing through; connections stay open, and new ones can be made."""
        self._change(name, "latency", direction, latency=FOREVER_MS, jitter=0)

    def slow(self, name: str, latency: float, kilobytes: float) -> None:
        """Delays everything by `latency` seconds and lets `kilobytes` a second through."""
        milliseconds = round(latency * 1000)
        self._narrow.add(name)
        for direction in Direction:
            self._change(name, "latency", direction, latency=milliseconds, jitter=milliseconds // 2)
            self._change(name, "bandwidth", direction, rate=round(kilobytes))

    def heal(self, name: str) -> None:
        """Accepts connections, and forwards what was held."""
        for direction in Direction:
            self._change(name, "latency", direction, latency=0, jitter=0)
            if name in self._narrow:
                self._change(name, "bandwidth", direction, rate=UNLIMITED_KILOBYTES)
        self._narrow.discard(name)
        self._call("POST", f"/proxies/{name}", enabled=True)

    def _add_toxic(self, name: str, kind: str, direction: Direction, **attributes: int) -> None:
        self._call(
            "POST", f"/proxies/{name}/toxics",
            name=f"{kind}_{direction}", type=kind, stream=str(direction), attributes=attributes,
        )  # fmt: skip

    def _change(self, name: str, kind: str, direction: Direction, **attributes: int) -> None:
        self._call("POST", f"/proxies/{name}/toxics/{kind}_{direction}", attributes=attributes)

    def _call(self, method: str, path: str, **fields: Any) -> Any:
        data = json.dumps(fields).encode() if fields else None
        # It refuses what looks like a browser.
        request = Request(self._url + path, data, {"User-Agent": "realm"}, method=method)
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read() or b"null")
        except OSError as error:
            raise DependencyUnavailable(f"toxiproxy: {method} {path}: {error}") from error
