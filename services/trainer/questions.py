"""New questions without a restart: the file of REALM_TRAIN_QUESTIONS is read again now and then."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import structlog

from realm.errors import RealmError
from realm.objectives.sources import Questions, parse_questions_file, read_questions_file
from realm.records.store import Store
from services.trainer.background import Background

LOOK_SECONDS = 30.0

_log = structlog.get_logger(__name__)


class QuestionWatch:
    """Reads in the background; call `look` between steps.

    :param questions: those in use, replaced when the file holds others.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        questions: Questions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._store = store
        self._questions = questions
        self._clock = clock
        self._reading: Background[bytes] = Background("read-questions")
        self._seen = b""
        self._look_at = 0.0

    def look(self) -> str | None:
        """The file's text, once, if it changed and is in use now.

        Never raises: what cannot be read, or has a line that cannot be used, changes nothing.
        """
        try:
            text = self._reading.take()
            if text is None:
                self._start()
                return None
            digest = hashlib.sha256(text).digest()
            if digest == self._seen:
                return None
            self._seen = digest
            found = parse_questions_file(text, self._name)
        except RealmError as error:
            _log.warning("questions_not_taken", why=error.message)
            return None
        if found != self._questions.all:
            self._questions.replace(found)
            _log.info("questions_taken", questions=len(found))
            return text.decode()
        return None

    def _start(self) -> None:
        now = self._clock()
        if not self._reading.busy and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._reading.start(lambda: read_questions_file(self._name, self._store))
