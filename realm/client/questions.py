"""Many questions over one stream, asked again where that may help: rounds, and who waits for what.

Knows neither channel nor clock of its own: both clients run their streams by it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from google.rpc import status_pb2

from realm.client.wire import from_status, may_pass, retry_seconds
from realm.errors import NotReady, RealmError, Unreachable
from realm.v1 import answer_pb2

#: Fruitless rounds until it is given up, if no question was ever answered: as for a single call.
FIRST_ROUNDS = 4
#: Seconds without an answer until it is given up, once there was one: a service may be replaced.
PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one of many questions, or why there is none; `number` counts from 0."""

    number: int
    question: str
    answer: answer_pb2.AnswerQuestionResponse | None
    error: str = ""
    #: What `ask` would have raised.
    failure: RealmError | None = None


class Questions:
    """Numbers questions and remembers each until it is answered for good.

    gRPC reads the requests in a thread of its own, and may sit in the caller's iterator long
    after its stream is over: what it reads then goes to the next stream.
    """

    def __init__(
        self,
        questions: Iterator[str],
        ask: Callable[[str], answer_pb2.AnswerQuestionRequest],
        clock: Callable[[], float],
        seconds: float | None,
    ) -> None:
        """:param questions: whatever it raises is raised to the caller, after the answers due.
        :param clock: monotonic, in seconds; `seconds`: until all must be answered.
        """
        self._source = questions
        self._ask = ask
        self._clock = clock
        self._deadline = None if seconds is None else clock() + seconds
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
        self._progress = clock()
        self._hint = 0.0

    @property
    def left(self) -> float | None:
        """Seconds until the deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock())

    def begin(self) -> None:
        """Reads the first question: where there is none, there is nothing to send."""
        self._read_one()

    def requests(self) -> Iterator[answer_pb2.AnswerQuestionsRequest]:
        """The next round's: what was not answered, then what comes anew."""
        with self._changed:
            self._round += 1
            self._waiting.extendleft(sorted({*self._asked, *self._refused}, reverse=True))
            self._asked.clear()
            self._refused.clear()
            self._changed.notify_all()
            return self._requests(self._round)

    def heard(self, response: answer_pb2.AnswerQuestionsResponse) -> Reply | None:
        """The reply to give out; None if its question will be asked again."""
        number = int(response.question_id)
        answered = response.HasField("answer")
        # Of the same wire format; a gateway of an older version says one sentence and no more.
        status = status_pb2.Status.FromString(response.failure.SerializeToString())
        failure = None if answered else from_status(status) or RealmError(response.error)
        with self._changed:
            self._asked.discard(number)
            if failure is not None and may_pass(failure):
                self._refused[number] = failure
                self._hint = max(self._hint, retry_seconds(status))
                return None
            self._answered, self._fruitless, self._progress = True, 0, self._clock()
            question = self._open.pop(number)
        return Reply(
            number, question, response.answer if answered else None, response.error, failure
        )

    @property
    def round_is_over(self) -> bool:
        """Only refused questions are left: this stream will say no more of them, and its requests
        may wait for a caller who waits for their answers."""
        with self._changed:
            return bool(self._refused) and not self._asked

    @property
    def done(self) -> bool:
        with self._changed:
            return self._over and not self._open

    def after_round(self, broke: RealmError | None) -> tuple[float, list[Reply]]:
        """Seconds until the next round, and replies to questions that are given up.

        :param broke: what ended the stream, if it did not end well.
        :raises RealmError: that, where another stream would end so too.
        """
        with self._changed:
            if broke is None and not self._refused and not self.done:
                broke = NotReady("the stream ended before all questions were answered")
            pause = 0.0 if self.done else self._pause(broke)
            if pause is not None:
                return pause, []
            if broke is not None:
                raise broke
            refused, self._refused = self._refused, {}
            return 0.0, [
                Reply(number, self._open.pop(number), None, failure.message, failure)
                for number, failure in refused.items()
            ]

    def _pause(self, broke: RealmError | None) -> float | None:
        """None if there should be no further round."""
        if broke is not None:
            nobody_there = isinstance(broke, Unreachable) and not self._answered
            if nobody_there or not may_pass(broke):
                return None
        self._fruitless += 1
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(self._fruitless, 8)
        pause, self._hint = min(LONGEST_PAUSE_SECONDS, max(pause, self._hint)), 0.0
        now = self._clock()
        if self._deadline is not None and now + pause >= self._deadline:
            return None
        if not self._answered:
            return pause if self._fruitless < FIRST_ROUNDS else None
        return pause if now - self._progress < PATIENCE_SECONDS else None

    def close(self) -> None:
        """Lets a thread that waits here end."""
        with self._changed:
            self._round += 1
            self._changed.notify_all()

    def raise_fault(self) -> None:
        """What the caller's iterator raised, if it did."""
        if self._fault is not None:
            raise self._fault

    def _requests(self, round_: int) -> Iterator[answer_pb2.AnswerQuestionsRequest]:
        while (number := self._next(round_)) is not None:
            yield answer_pb2.AnswerQuestionsRequest(
                question_id=str(number), question=self._ask(self._open[number])
            )

    def _next(self, round_: int) -> int | None:
        while True:
            with self._changed:
                while self._reading and not self._waiting and round_ == self._round:
                    self._changed.wait()
                if round_ != self._round:
                    return None
                if self._waiting:
                    number = self._waiting.popleft()
                    self._asked.add(number)
                    return number
                if self._over:
                    return None
                self._reading = True
            self._read_one()

    def _read_one(self) -> None:
        """Outside of the lock: the caller's iterator may take its time."""
        question: str | None = None
        fault: BaseException | None = None
        try:
            question = next(self._source, None)
        except BaseException as error:  # in gRPC's thread it would be lost
            fault = error
        with self._changed:
            self._reading = False
            if question is None:
                self._over, self._fault = True, fault
            else:
                self._open[self._read] = question
                self._waiting.append(self._read)
                self._read += 1
            self._changed.notify_all()
