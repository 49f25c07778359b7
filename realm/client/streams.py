"""What the client's streams do when they break: when to retry, with what, and when to give up.

Decisions only, without a channel: the client does what they say.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.rpc import status_pb2
from tenacity import retry_if_exception_type, stop_after_delay, wait_fixed

from realm.client import arguments
from realm.client.wire import from_status, may_pass, retry_seconds
from realm.errors import DependencyUnavailable, NotReady, RealmError, Unreachable
from realm.v1 import answer_pb2, retrieval_pb2

#: Rounds without an answer before giving up, if no question was ever answered: as for one call.
FIRST_ROUNDS = 4
#: Seconds without an answer before giving up, after the first one: a service may be replaced.
PATIENCE_SECONDS = 60.0
ROUND_PAUSE_SECONDS = (0.2, 2.0)
WATCH_PAUSE_SECONDS = (0.25, 5.0)
#: Of a batch of an import that has begun, while the service is away.
IMPORT_RETRIES: dict[str, Any] = {
    "retry": retry_if_exception_type((NotReady, DependencyUnavailable)),
    "stop": stop_after_delay(60.0),
    "wait": wait_fixed(0.5),
    "reraise": True,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one of many questions, or why there is none; `number` counts from 0."""

    number: int
    question: str
    answer: answer_pb2.AnswerQuestionResponse | None
    error: str = ""
    #: What `ask` would have raised.
    failure: RealmError | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The passages for one of many questions, or why there are none; `number` counts from 0."""

    number: int
    question: str
    found: retrieval_pb2.RetrievePassagesResponse | None
    error: str = ""
    #: What `search` would have raised.
    failure: RealmError | None = None


One = TypeVar("One")


@dataclass(frozen=True, slots=True)
class Kind(Generic[One]):
    """What a stream's requests are, which field of a response has the outcome, and what becomes of
    both."""

    request: Callable[..., Any]
    outcome: str
    reply: Callable[[int, str, Any, str, RealmError | None], One]


ANSWERS: Kind[Reply] = Kind(answer_pb2.AnswerQuestionsRequest, "answer", Reply)
PASSAGES: Kind[Found] = Kind(retrieval_pb2.BatchRetrievePassagesRequest, "found", Found)


class Deadline:
    """Counts down from `seconds`; None: there is no deadline."""

    def __init__(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def seconds_left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


class QuestionStream(Deadline, Generic[One]):
    """Numbers questions and keeps each until it has its final answer.

    Each round is one gRPC stream with what the one before left unanswered. gRPC reads the requests
    in a thread of its own, which may be inside the caller's iterator long after its stream is
    over: what it reads then goes to the next round.
    """

    def __init__(
        self,
        kind: Kind[One],
        questions: Iterator[str],
        shared: Any,
        seconds: float | None,
    ) -> None:
        """:param questions: what it raises reaches the caller after the answers to those before.
        :param shared: the request of each question, without its text.
        """
        super().__init__(seconds)
        self.kind = kind
        self._source = questions
        self._shared = shared
        self._changed = threading.Condition(threading.RLock())
        self._round = 0
        self._reading = False
        self._read = 0
        self._over = False
        self._fault: BaseException | None = None
        self._open: dict[int, str] = {}
        self._waiting: deque[int] = deque()
        self._asked: set[int] = set()
        self._refused: dict[int, RealmError] = {}
        self._answered = False
        self._fruitless = 0
        self._progress = time.monotonic()
        self._hint = 0.0

    def begin(self) -> None:
        """Reads the first question: without one, nothing is sent."""
        self._read_one()

    def requests(self) -> Any:
        """The next round's: first what was not answered, then new questions."""
        with self._changed:
            self._round += 1
            self._waiting.extendleft(sorted({*self._asked, *self._refused}, reverse=True))
            self._asked.clear()
            self._refused.clear()
            self._changed.notify_all()
            return self._requests(self._round)

    def receive(self, response: Any) -> One | None:
        """The reply to yield; None if its question will be asked again."""
        number = int(response.question_id)
        answered = response.HasField(self.kind.outcome)
        # The same wire format; a gateway of an older version sends the sentence alone.
        status = status_pb2.Status.FromString(response.failure.SerializeToString())
        failure = None if answered else from_status(status) or RealmError(_words(response))
        with self._changed:
            self._asked.discard(number)
            if failure is not None and may_pass(failure):
                self._refused[number] = failure
                self._hint = max(self._hint, retry_seconds(status))
                return None
            self._answered, self._fruitless, self._progress = True, 0, time.monotonic()
            question = self._open.pop(number)
        if failure is not None:
            return self._failed(number, question, failure)
        return self.kind.reply(number, question, getattr(response, self.kind.outcome), "", None)

    def _failed(self, number: int, question: str, failure: RealmError) -> One:
        return self.kind.reply(number, question, None, failure.message, failure)

    @property
    def round_is_over(self) -> bool:
        """Only refused questions are left: this stream answers none of them any more, while its
        requests may wait for a caller who waits for those answers."""
        with self._changed:
            return bool(self._refused) and not self._asked

    @property
    def done(self) -> bool:
        with self._changed:
            return self._over and not self._open

    def end_round(self, error: RealmError | None) -> tuple[float, list[One]]:
        """Seconds until the next round, and replies to questions that are given up.

        :param error: what error the stream, if anything.
        :raises RealmError: `error`, if another round would end with it too.
        """
        with self._changed:
            if error is None and not self._refused and not self.done:
                error = NotReady("the stream ended before all questions were answered")
            pause = 0.0 if self.done else self._round_pause(error)
            if pause is not None:
                return pause, []
            if error is not None:
                raise error
            refused, self._refused = self._refused, {}
            return 0.0, [
                self._failed(number, self._open.pop(number), failure)
                for number, failure in refused.items()
            ]

    def _round_pause(self, error: RealmError | None) -> float | None:
        """None if there should be no further round."""
        if error is not None:
            nobody_there = isinstance(error, Unreachable) and not self._answered
            if nobody_there or not may_pass(error):
                return None
        self._fruitless += 1
        first, longest = ROUND_PAUSE_SECONDS
        pause = max(_backoff(first, longest, self._fruitless), min(longest, self._hint))
        self._hint = 0.0
        if (left := self.seconds_left) is not None and pause >= left:
            return None
        if not self._answered:
            return pause if self._fruitless < FIRST_ROUNDS else None
        return pause if time.monotonic() - self._progress < PATIENCE_SECONDS else None

    def close(self) -> None:
        """Ends the thread that may wait here."""
        with self._changed:
            self._round += 1
            self._changed.notify_all()

    def raise_fault(self) -> None:
        """Raises what the caller's iterator raised, if anything."""
        if self._fault is not None:
            raise self._fault

    def _requests(self, round_: int) -> Any:
        while (number := self._next(round_)) is not None:
            yield self._request(number)

    def _request(self, number: int) -> Any:
        request = self.kind.request(question_id=str(number), question=self._shared)
        request.question.question = self._open[number]
        return request

    def _take(self) -> int:
        """The question that is asked next; there is one."""
        number = self._waiting.popleft()
        self._asked.add(number)
        return number

    def _next(self, round_: int) -> int | None:
        while True:
            with self._changed:
                while self._reading and not self._waiting and round_ == self._round:
                    self._changed.wait()
                if round_ != self._round:
                    return None
                if self._waiting:
                    return self._take()
                if self._over:
                    return None
                self._reading = True
            self._read_one()

    def _read_one(self) -> None:
        """Without the lock: the caller's iterator may take its time."""
        question: str | None = None
        fault: BaseException | None = None
        try:
            question = next(self._source, None)
        except BaseException as error:  # in gRPC's thread it would be lost
            fault = error
        self._accept(question, fault)

    def _accept(self, question: str | None, fault: BaseException | None) -> None:
        """What was read: a question, or the end."""
        with self._changed:
            self._reading = False
            if question is None:
                self._over, self._fault = True, fault
            else:
                self._open[self._read] = question
                self._waiting.append(self._read)
                self._read += 1
            self._changed.notify_all()


class ChangeStream(Deadline):
    """A watch that survives gateways and leaders: what is news, and when to connect again."""

    def __init__(self, timeout: float | None, on_lost: Callable[[RealmError], None]) -> None:
        """:param on_lost: called for each stream that was lost and is begun again."""
        super().__init__(arguments.seconds("timeout", timeout))
        self._on_lost = arguments.called("on_lost", on_lost)
        self._last: Any = None
        self._lost = 0

    def is_news(self, response: Any) -> bool:
        """Whether it differs from the last one: a new stream repeats what was known."""
        self._lost = 0
        before, self._last = self._last, response
        return bool(before != response)

    @property
    def done(self) -> bool:
        """Whether the last one was to be the last."""
        return bool(getattr(self._last, "done", False))

    def pause_after(self, error: RealmError | None) -> float:
        """Seconds until the next stream; the deadline ends that one too.

        :param error: what ended the last one; None if the server did.
        :raises RealmError: `error`, if it is not transient or nothing ever came.
        """
        error = error or NotReady("the gateway ended the watch")
        if self._last is None or not isinstance(error, NotReady | DependencyUnavailable):
            raise error
        self._on_lost(error)
        pause = _backoff(*WATCH_PAUSE_SECONDS, self._lost)
        self._lost += 1
        left = self.seconds_left
        return pause if left is None else min(pause, left)


def _words(response: Any) -> str:
    """An older gateway says no more than this."""
    return str(getattr(response, "error", "") or response.failure.message)


def _backoff(first: float, longest: float, failures: int) -> float:
    return float(min(longest, first * 2.0 ** min(failures, 8)))
