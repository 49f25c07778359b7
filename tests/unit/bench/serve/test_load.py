"""Load, and what became of it."""

from __future__ import annotations

import asyncio

from bench.serve.load import closed, opened
from realm.errors import NotReady, Overloaded


class Server:
    """Answers some, refuses others, fails at the rest; knows how many ask at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = self.most = 0

    async def ask(self, question: str) -> str:
        self.asked.append(question)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        if question == "much":
            raise Overloaded("too much")
        if question == "early":
            raise NotReady("too early")
        return question


async def test_clients_of_a_closed_loop_ask_one_question_at_a_time() -> None:
    server = Server()
    served = await closed(server.ask, ["one", "much", "early"], clients=4, seconds=0.1)
    assert server.most == 4
    assert served.answered
    assert served.rate == len(served.answered) / served.seconds
    counted = len(served.answered) + len(served.refused) + served.failed.total()
    assert counted == len(server.asked)
    assert set(served.failed) == {"NotReady"}


async def test_an_open_loop_asks_whatever_became_of_what_it_asked_before() -> None:
    blocked = asyncio.Event()
    asked = 0

    async def ask(question: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            blocked.set()
        await blocked.wait()

    async with asyncio.timeout(20):
        served = await opened(ask, ["one"], rate=1000, seconds=0.02)
    assert asked == len(served.answered) == 20
    assert served.seconds == 0.02
