"""Ports for servers that a test ends and starts again, or whose absence it asks for."""

from __future__ import annotations

import itertools
import os
import random
import socket

#: Below the ports that the system gives to whoever names none, so that nobody is given one of them
#: while no server stands there; each worker of a suite has a block of its own.
FIRST, BLOCK, BLOCKS = 26000, 200, 30


def _block() -> range:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST + worker % BLOCKS * BLOCK
    return range(first, first + BLOCK)


def _in_turn() -> itertools.cycle[int]:
    """Two suites on one machine seldom begin at the same port."""
    block = _block()
    begin = random.randrange(BLOCK)
    return itertools.cycle([*block[begin:], *block[:begin]])


_PORTS = _in_turn()


def free_port() -> int:
    """A port where nothing listens, and which nobody gets by chance: a server that ends may have
    it again, and whoever asks there meanwhile is refused."""
    for port in itertools.islice(_PORTS, BLOCK):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"something listens on every port of {_block()}")
