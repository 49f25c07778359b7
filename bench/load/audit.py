"""Audits responses in a process of its own, so that auditing does not slow the load."""

from __future__ import annotations

import multiprocessing
import os
import queue
from collections import Counter
from multiprocessing.queues import Queue
from typing import TypeAlias

from realm.errors import DependencyUnavailable
from realm.model.runtime import set_threads
from realm.records.generations import Generation
from realm.records.store import Store
from realm.v1.retrieval_pb2 import RetrievePassagesResponse
from services.standalone.load.audit import Auditor

NICENESS = 10
#: More than these wait: the next response is not audited.
MOST_WAITING = 40
DRAIN_SECONDS = 60.0
LOOK_SECONDS = 5.0

#: A question and its response's bytes, or a generation's number and None; None ends the work.
Questions: TypeAlias = "Queue[tuple[str, bytes | None] | None]"


class Audit:
    """`with Audit(url, every) as audit:`; audits every n-th response that it is offered."""

    def __init__(self, store_url: str, every: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._every = every
        self._offered = 0
        self._questions: Questions = context.Queue()
        self._verdicts: Queue[dict[str, int]] = context.Queue()
        self._process = context.Process(
            target=_serve, args=(store_url, self._questions, self._verdicts), daemon=True
        )

    def __enter__(self) -> Audit:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join(DRAIN_SECONDS)
        self._questions.cancel_join_thread()

    def offer(self, question: str, response: RetrievePassagesResponse) -> None:
        self._offered += 1
        if self._offered % self._every == 0 and self._questions.qsize() < MOST_WAITING:
            self._questions.put((question, response.SerializeToString()))

    def prepare(self, generation: Generation | None) -> None:
        """Does the same work for a generation that is refused as for one that answers."""
        if generation is not None:
            self._questions.put((str(generation.number), None))

    def verdicts(self) -> dict[str, int]:
        """How many responses got which verdict; ends the process's work.

        :raises DependencyUnavailable: if the auditing process died.
        """
        self._questions.put(None)
        try:
            return self._verdicts.get(timeout=DRAIN_SECONDS)
        except queue.Empty as error:
            raise DependencyUnavailable("the audit of the responses did not end") from error


def _serve(store_url: str, questions: Questions, verdicts: Queue[dict[str, int]]) -> None:
    """In the child."""
    os.nice(NICENESS)
    set_threads(1)
    auditor = Auditor(Store.open(store_url))
    found: Counter[str] = Counter()
    while (item := _next(questions)) is not None:
        question, response = item
        if response is None:
            auditor.prepare(int(question))
            continue
        verdict = auditor.check(question, RetrievePassagesResponse.FromString(response))
        found[str(verdict)] += 1
    verdicts.put(dict(found))


def _next(questions: Questions) -> tuple[str, bytes | None] | None:
    """None at the end, and if the bench was killed."""
    while True:
        try:
            return questions.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            parent = multiprocessing.parent_process()
            if parent is None or not parent.is_alive():
                return None
