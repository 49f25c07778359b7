"""A real toxiproxy between a client and a server that echoes."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial

import pytest

from bench.apparatus import tools
from bench.apparatus.apparatus import await_start
from bench.apparatus.toxiproxy import Direction, Toxiproxy
from realm.errors import BadSettings
from tests.ports import free_port
from tests.waiting import until

HOST = "127.0.0.1"
LINK = "a->b"
DEADLINE = 30.0
#: Long enough for what is not held to arrive.
SOON = 0.3


class Echo:
    """`heard` is all that arrived."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with closing(connection), suppress(ConnectionError):
            while data := connection.recv(1024):
                self.heard += data
                connection.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[tuple[Toxiproxy, int]]:
    """The proxies, and the port at which one of them listens."""
    try:
        program = tools.toxiproxy()
    except BadSettings as missing:
        pytest.skip(missing.message)
    api, port = free_port(), free_port()
    process = subprocess.Popen(
        [program, "-host", HOST, "-port", str(api)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        proxies = Toxiproxy(f"{HOST}:{api}")
        await_start(proxies.add)(LINK, f"{HOST}:{port}", echo.address)
        yield proxies, port
    finally:
        process.kill()
        process.wait(10)


def connect(port: int) -> socket.socket:
    made = socket.create_connection((HOST, port), timeout=DEADLINE)
    made.settimeout(DEADLINE)
    return made


def is_silent(client: socket.socket) -> bool:
    client.settimeout(SOON)
    try:
        client.recv(1024)
    except TimeoutError:
        return True
    finally:
        client.settimeout(DEADLINE)
    return False


def test_a_refused_link_breaks_connections_and_takes_none(link: tuple[Toxiproxy, int]) -> None:
    proxies, port = link
    with connect(port) as client:
        client.sendall(b"one")
        assert client.recv(1024) == b"one"
        proxies.refuse(LINK)
        assert client.recv(1024) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    proxies.heal(LINK)
    with connect(port) as client:
        client.sendall(b"two")
        assert client.recv(1024) == b"two"


def test_what_is_held_arrives_in_order_when_the_link_is_healed(
    link: tuple[Toxiproxy, int], echo: Echo
) -> None:
    proxies, port = link
    with connect(port) as old:
        for direction in Direction:
            proxies.hold(LINK, direction)
        old.sendall(b"one, ")
        with connect(port) as new:
            new.sendall(b"three")
            assert is_silent(new)
        assert is_silent(old)
        assert echo.heard == b""
        old.sendall(b"two")
        proxies.heal(LINK)
        answer = b""
        while len(answer) < len(b"one, two"):
            answer += old.recv(1024)
        assert answer == b"one, two"


def has_heard(echo: Echo, size: int) -> bool:
    return len(echo.heard) == size


def test_a_link_heals_though_a_client_was_killed_that_answers_were_held_for(
    link: tuple[Toxiproxy, int], echo: Echo
) -> None:
    proxies, port = link
    sent = bytes(2**20)
    for _ in range(3):
        killed = connect(port)
        for direction in Direction:
            proxies.hold(LINK, direction)
        proxies.heal(LINK)
        proxies.hold(LINK, Direction.DOWNSTREAM)
        heard = len(echo.heard) + len(sent)
        killed.sendall(sent)
        until(partial(has_heard, echo, heard), "the server to hear it all")
        killed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        killed.close()
        proxies.heal(LINK)
        with connect(port) as client:
            client.sendall(b"one")
            assert client.recv(1024) == b"one"


@pytest.mark.parametrize("direction", Direction)
def test_one_direction_alone_is_held(
    link: tuple[Toxiproxy, int], echo: Echo, direction: Direction
) -> None:
    proxies, port = link
    with connect(port) as client:
        proxies.hold(LINK, direction)
        client.sendall(b"one")
        assert is_silent(client)
        assert echo.heard == (b"one" if direction is Direction.DOWNSTREAM else b"")
        proxies.heal(LINK)
        assert client.recv(1024) == b"one"


def test_a_slow_link_delays_and_passes_everything(link: tuple[Toxiproxy, int]) -> None:
    proxies, port = link
    with connect(port) as client:
        proxies.slow(LINK, latency=0.2, kilobytes=100)
        began = time.monotonic()
        client.sendall(b"one")
        assert client.recv(1024) == b"one"
        assert time.monotonic() - began >= 0.2
        proxies.heal(LINK)
