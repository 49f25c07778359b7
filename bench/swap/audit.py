"""Audits responses in a process of its own, so that measuring does not slow what is measured."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType

from realm.model.runtime import set_threads
from realm.store import Store
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from services.standalone.visitor.audit import Auditor

NICENESS = 10
#: More than these wait: the next response is not audited.
MOST_WAITING = 40
DRAIN_SECONDS = 60.0

_auditor: Auditor | None = None


class Audit:
    """`with Audit(url, every) as audit:`; every so-many-th response offered is audited."""

    def __init__(self, store_url: str, every: int) -> None:
        self.verdicts: Counter[str] = Counter()
        self._every = every
        self._offered = 0
        self._waiting: set[Future[str]] = set()
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _open, (store_url,)
        )

    def __enter__(self) -> Audit:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=True)

    def offer(self, question: str, response: RetrievePassagesResponse) -> None:
        self._offered += 1
        if self._offered % self._every == 0 and len(self._waiting) < MOST_WAITING:
            self._waiting.add(self._pool.submit(_check, question, response.SerializeToString()))
        self._collect({future for future in self._waiting if future.done()})

    def drain(self) -> None:
        """Waits for those under way."""
        for future in self._waiting:
            future.exception(DRAIN_SECONDS)
        self._collect(set(self._waiting))

    def _collect(self, done: set[Future[str]]) -> None:
        self._waiting -= done
        self.verdicts.update(future.result() for future in done)


def _open(store_url: str) -> None:
    """In the child: a module's variable is all that a pool keeps between two calls."""
    global _auditor
    os.nice(NICENESS)
    set_threads(1)
    _auditor = Auditor(Store.open(store_url))


def _check(question: str, response: bytes) -> str:
    assert _auditor
    return str(_auditor.check(question, RetrievePassagesResponse.FromString(response)))
