"""Audits responses in a process of its own, so that auditing does not slow the load."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from bench.history.events import Audited
from realm.errors import DependencyUnavailable
from realm.model.runtime import set_threads
from realm.records.generation import Generation
from realm.records.store import Store
from realm.v1.answer_pb2 import AnswerQuestionResponse
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from services.standalone.load.audit import Auditor
from services.standalone.parent_death import die_with

NICENESS = 10
#: More than these wait: the next response is not audited.
MOST_WAITING = 40
DRAIN_SECONDS = 60.0

_auditor: Auditor


class Audit:
    """`with Audit(url, every) as audit:`; audits every n-th response that it is offered."""

    def __init__(self, store_url: str, every: int) -> None:
        self._every = every
        self._offered = 0
        self._audits: list[Future[Audited]] = []
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _start, (store_url, os.getpid())
        )

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def offer(
        self,
        operation: int,
        question: str,
        response: RetrievePassagesResponse | AnswerQuestionResponse,
    ) -> None:
        self._offered += 1
        waiting = sum(not each.done() for each in self._audits[-MOST_WAITING:])
        if self._offered % self._every == 0 and waiting < MOST_WAITING:
            given, kind = response.SerializeToString(), type(response)
            self._audits.append(self._pool.submit(_check, operation, question, kind, given))

    def prepare(self, generation: Generation | None) -> None:
        """Does the same work for a generation that is refused as for one that answers."""
        if generation is not None:
            self._pool.submit(_prepare, generation.number)

    def verdicts(self) -> list[Audited]:
        """:raises DependencyUnavailable: if the auditing process died."""
        try:
            return [each.result(DRAIN_SECONDS) for each in self._audits]
        except (BrokenProcessPool, TimeoutError) as error:
            raise DependencyUnavailable("the audit of the responses did not end") from error


def _start(store_url: str, parent: int) -> None:
    global _auditor
    die_with(parent)
    os.nice(NICENESS)
    set_threads(1)
    _auditor = Auditor(Store.open(store_url))


def _check(
    operation: int,
    question: str,
    kind: type[RetrievePassagesResponse | AnswerQuestionResponse],
    response: bytes,
) -> Audited:
    found = _auditor.check(question, kind.FromString(response))
    return Audited(operation, str(found.verdict), found.why)


def _prepare(generation: int) -> None:
    _auditor.prepare(generation)
