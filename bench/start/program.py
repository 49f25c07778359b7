"""What a newcomer waits for after `make run`: the page, the first answered search, the first
generation with vectors. Questions are asked from the first answer on, over the change from words
alone to vectors and while the trainer learns, as many as are wanted; none may fail. Then it starts
twice more, unasked: with words first, and with vectors at once, which may not be there sooner.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.claims import Result, at_least, at_most, none
from bench.datasets import any_dataset
from bench.harness import Bench, Context
from bench.up import Up
from realm.client import Client
from realm.corpus.documents import Document
from realm.errors import RealmError

POLL_SECONDS = 0.05
PROBE_SECONDS = 2.0
MOST_SECONDS = 15.0
#: So many times as long as they are to take, questions are waited for.
PATIENCE = 3.0
#: Of the time that vectors take when nothing comes before them.
MOST_TIMES = 1.1
#: The machine is this program's alone.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Parameters:
    """`documents` of the corpus; 0: the documentation of Python, as for a newcomer. `rate`:
    questions a second. `judge_time`: nothing else runs on the machine."""

    documents: int
    questions: int
    rate: float
    judge_time: bool


@dataclass(slots=True)
class First:
    """Seconds from the command until the page was there, and until a search was answered."""

    page: float = float("nan")
    answer: float = float("nan")
    by_words_alone: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """Seconds until a generation with vectors was live: `asked` meanwhile, and unasked, with
    `words_first` or at once. `report` is the asked run's own."""

    first: First
    asked: float
    words_first: float
    at_once: float
    report: dict[str, Any]
    load: float


def observe(parameters: Parameters, context: Context) -> Observed:
    """:raises DependencyUnavailable: if the cluster does not come up."""
    load = psutil.getloadavg()[0]
    texts = any_dataset(context.seed).documents[: parameters.documents]
    report = context.folder / "report.json"
    options = ["--report", str(report), "--rate", str(parameters.rate)]
    with Up(context.folder, options, texts) as up, Newcomer(up) as newcomer:
        asked = up.until_vectors()
        asking, log = parameters.questions / parameters.rate, up.state / "logs" / "requests.jsonl"
        up.until(
            lambda: _asked(log) >= parameters.questions,
            f"{parameters.questions} questions",
            PATIENCE * asking,
        )
        up.wait(asking / 10)  # of the generation with vectors too
    words_first, at_once = (
        _until_vectors(context.folder / f"words-first-{value}", texts, value)
        for value in ("true", "false")
    )
    found = json.loads(report.read_text())
    return Observed(newcomer.first, asked, words_first, at_once, found, load)


def _until_vectors(folder: Path, texts: list[Document], words_first: str) -> float:
    with Up(folder, [], texts, {"REALM_WORDS_FIRST": words_first}) as up:
        return up.until_vectors()


def _asked(request_log: Path) -> int:
    return request_log.read_bytes().count(b"\n") if request_log.exists() else 0


@dataclass(slots=True)
class Newcomer:
    """Looks at the page and searches from the first moment on, until both were there once."""

    up: Up
    first: First = field(default_factory=First)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Newcomer:
        self._thread = threading.Thread(target=self._look, name="newcomer", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(2 * PROBE_SECONDS)

    def _look(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            if self._page_is_there():
                self.first.page = time.time() - self.up.began
                break
        with Client(self.up.gateway, timeout=PROBE_SECONDS) as client:
            while not self._over.wait(POLL_SECONDS):
                if self._is_answered(client):
                    self.first.answer = time.time() - self.up.began
                    return

    def _page_is_there(self) -> bool:
        try:
            with DIRECT.open(f"http://{self.up.address('web')}/", timeout=PROBE_SECONDS) as page:
                return b"<title>" in page.read()
        except (urllib.error.URLError, OSError):
            return False

    def _is_answered(self, client: Client) -> bool:
        try:
            found = client.search("Which function opens a URL in the browser?")
        except RealmError:
            return False
        self.first.by_words_alone = found.index_version.words_alone
        return bool(found.passages)


def judge(parameters: Parameters, observed: Observed) -> Result:
    first, queries = observed.first, observed.report["queries"]
    figures = {
        "documents": parameters.documents or "the documentation of Python",
        "load": observed.load,
        "page_after_seconds": round(first.page, 1),
        "first_answered_search_after_seconds": round(first.answer, 1),
        "vectors_live_after_seconds": {
            "asked": round(observed.asked, 1),
            "unasked": round(observed.words_first, 1),
            "unasked, without words first": round(observed.at_once, 1),
        },
        "questions_a_second": parameters.rate,
        **{name: queries[name] for name in ("searches", "answers", "asked_again", "audited")},
        "latency_ms": queries["latency_ms"],
        "queries_by_generation": observed.report["queries_by_generation"],
        "failures": queries["failures"],
    }
    claims = [
        none("questions that failed", queries["failed"]),
        none("questions that had to be asked again", queries["asked_again"]),
        none("answers of mixed versions", queries["mixed_version"]),
        at_least("questions asked", queries["total"], parameters.questions),
        at_least("answered by words alone first", int(first.by_words_alone), 1),
        at_least("generations that answered", len(observed.report["queries_by_generation"]), 2),
    ]
    if parameters.judge_time:
        claims += [
            at_most("seconds until a search is answered", first.answer, MOST_SECONDS),
            at_most(
                "times as long until vectors are live as without words first",
                observed.words_first / observed.at_once,
                MOST_TIMES,
            ),
        ]
    return Result(figures, claims)


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=0, questions=1_000, rate=8.0, judge_time=True),
    quick=Parameters(documents=200, questions=60, rate=4.0, judge_time=False),
    observe=observe,
    judge=judge,
    options={"documents": "of the corpus; 0: the documentation of Python"},
)
