"""What one user has seen, carried from call to call and from gateway to gateway."""

from __future__ import annotations

import threading


class Session:
    """`Client(address, session=session)`: every search and question asks for an index that holds
    what the session has seen: its own writes, and all that earlier answers held.

    Gateways follow writes each at its own pace. Without a session, one that a user is led to next
    may not know yet what another one showed. With one, a call waits until it does, within its
    deadline; and while the index is damaged, which may then hold anything less, it fails with
    `NotReady`. Several clients may share a session, in several threads.
    """

    def __init__(self, seen: int = 0) -> None:
        """:param seen: a corpus version, as of an earlier session of that user."""
        self._seen = seen
        self._lock = threading.Lock()

    @property
    def seen(self) -> int:
        """The newest corpus version that it knows of."""
        return self._seen

    def note(self, corpus_version: int) -> None:
        with self._lock:
            self._seen = max(self._seen, corpus_version)
