"""What HTTP costs beside gRPC, and what a page costs that is only open.

The same searches are asked at saturation in turns, over gRPC and over HTTP. What counts is the
processor time of the service: of the gateway alone over gRPC, of gateway and web service together
over HTTP. Then the page is open in a browser, where there is one, and nobody asks anything.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx2
import psutil

from bench.claims import Result, at_most
from bench.datasets import any_dataset
from bench.harness import Bench, Context
from bench.processes import processor_seconds
from bench.up import Up
from realm.client import AsyncClient

AT_ONCE = 16
LIMIT = 5
TIMEOUT_SECONDS = 60
MOST_RATIO, MOST_SHARE = 1.5, 0.01
WEB, GATEWAY = "web", "gateway"
Ask = Callable[[str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Parameters:
    """`requests` of each turn, `rounds` turns of each way; `idle` seconds at the open page."""

    documents: int
    rounds: int
    requests: int
    idle: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Milliseconds of each process's time a search, and searches a second."""

    gateway: float
    web: float
    rate: float

    @property
    def service(self) -> float:
        return self.gateway + self.web


@dataclass(frozen=True, slots=True)
class Idle:
    """Shares of a core: of the web service and the gateway without a page, and with one open, and
    of the browser."""

    without: float
    service: float
    browser: float


@dataclass(frozen=True, slots=True)
class Observed:
    """`idle` is None without Chromium."""

    grpc: list[Turn]
    http: list[Turn]
    memory: int
    idle: Idle | None


def observe(parameters: Parameters, context: Context) -> Observed:
    """:raises DependencyUnavailable: if the cluster does not come up."""
    texts = any_dataset(context.seed)
    documents = texts.documents[: parameters.documents]
    questions = [each.question for each in texts.questions]
    with Up(context.folder, ["--no-train"], documents) as up:
        up.until_vectors()
        service = Service(up)
        grpc, http = asyncio.run(_turns(up, service, questions, parameters))
        memory = service.web.memory_info().rss
        return Observed(grpc, http, memory, _idle(up, service, parameters.idle))


class Service:
    """The two processes whose time counts."""

    def __init__(self, up: Up) -> None:
        found = {name: psutil.Process(child) for name, child, _ in up.started()}
        self.web, self.gateway = found[WEB], found[GATEWAY]

    def spent(self) -> tuple[float, float]:
        """Seconds of gateway and web service until now."""
        return processor_seconds(self.gateway), processor_seconds(self.web)


async def _turns(
    up: Up, service: Service, questions: Sequence[str], parameters: Parameters
) -> tuple[list[Turn], list[Turn]]:
    following = itertools.cycle(questions)
    grpc: list[Turn] = []
    http: list[Turn] = []
    async with (
        AsyncClient(up.gateway, timeout=TIMEOUT_SECONDS) as client,
        httpx2.AsyncClient(
            base_url=f"http://{up.address(WEB)}", timeout=TIMEOUT_SECONDS, trust_env=False
        ) as web,
    ):

        async def by_grpc(question: str) -> object:
            return await client.search(question, limit=LIMIT, no_cache=True)

        async def by_http(question: str) -> object:
            body = {"question": question, "limit": LIMIT, "no_cache": True}
            return (await web.post("/v1/search", json=body)).raise_for_status()

        for number in range(parameters.rounds + 1):
            asked = [next(following) for _ in range(parameters.requests)]
            for ask, turns in ((by_grpc, grpc), (by_http, http)):
                turn = await _turn(service, ask, asked)
                if number:  # the first warms up
                    turns.append(turn)
    return grpc, http


async def _turn(service: Service, ask: Ask, questions: Sequence[str]) -> Turn:
    waiting = iter(questions)

    async def caller() -> None:
        for question in waiting:
            await ask(question)

    before, began = service.spent(), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(caller())
    seconds, after = time.perf_counter() - began, service.spent()
    gateway, web = (1000 * (b - a) / len(questions) for a, b in zip(before, after, strict=True))
    return Turn(gateway, web, len(questions) / seconds)


def _idle(up: Up, service: Service, seconds: float) -> Idle | None:
    """What an open page takes while nothing happens."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    before = _share(service, [], up, seconds)[0]
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--no-proxy-server"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page()
        page.goto(f"http://{up.address(WEB)}/")
        page.wait_for_selector("#facts dd")
        page.wait_for_timeout(1000 * seconds / 2)  # what loading it left to do
        browsing = [
            each for each in psutil.Process().children(recursive=True) if _is(each, "chrom")
        ]
        shares = _share(service, browsing, up, seconds)
        browser.close()
    return Idle(before, *shares)


def _is(process: psutil.Process, name: str) -> bool:
    try:
        return name in process.name()
    except psutil.Error:
        return False


def _share(
    service: Service, browsing: Sequence[psutil.Process], up: Up, seconds: float
) -> tuple[float, float]:
    """Of a core: of the service, and of the browser."""

    def spent() -> tuple[float, float]:
        return sum(service.spent()), sum(map(processor_seconds, browsing))

    before, began = spent(), time.perf_counter()
    up.wait(seconds)
    passed, after = time.perf_counter() - began, spent()
    served, browsed = ((b - a) / passed for a, b in zip(before, after, strict=True))
    return served, browsed


def judge(parameters: Parameters, observed: Observed) -> Result:
    ratios = [h.service / g.gateway for g, h in zip(observed.grpc, observed.http, strict=True)]
    figures: dict[str, Any] = {
        "callers": AT_ONCE,
        "rounds": parameters.rounds,
        "searches_a_turn": parameters.requests,
        "grpc": _medians(observed.grpc),
        "http": _medians(observed.http),
        "ratio_by_round": [round(each, 3) for each in ratios],
        "web_service_mib": round(observed.memory / 2**20),
    }
    claims = [
        at_most("processor time of a search over HTTP, of gRPC's", median(ratios), MOST_RATIO)
    ]
    if (idle := observed.idle) is not None:
        figures["idle"] = {
            "web_service_and_gateway_without_a_page": round(idle.without, 4),
            "with_one": round(idle.service, 4),
            "browser": round(idle.browser, 4),
        }
        added = max(0.0, idle.service - idle.without)
        claims.append(at_most("share of a core that an open page takes", added, MOST_SHARE))
    return Result(figures, claims)


def _medians(turns: Sequence[Turn]) -> dict[str, float]:
    return {
        "gateway_ms": round(median(each.gateway for each in turns), 2),
        "web_ms": round(median(each.web for each in turns), 2),
        "searches_a_second": round(median(each.rate for each in turns), 1),
    }


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(documents=600, rounds=10, requests=400, idle=30.0),
    quick=Parameters(documents=60, rounds=4, requests=160, idle=5.0),
    observe=observe,
    judge=judge,
)
