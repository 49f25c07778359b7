"""Ports for a cluster of one's own, beside others that start at the same moment."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TextIO

from realm.errors import BadSettings
from services.standalone.cluster import HOST, MORE_GATEWAYS, PORTS, STANDBY

#: Of what stands round a cluster.
APPARATUS_PORTS = {"toxiproxy": 8474, "s3": 9000}
#: Of every process that a cluster may have.
ALL_PORTS = (
    *PORTS.values(),
    *APPARATUS_PORTS.values(),
    *STANDBY.values(),
    *(first + number for first in MORE_GATEWAYS.values() for number in range(2, 9)),
)
#: Beyond the ports that the system gives to whoever names none.
OFFSETS = range(11000, 15000, 41)


def claim_offset() -> tuple[int, TextIO]:
    """An offset at which every port of a cluster is free, and the claim that keeps it until it is
    closed: of two clusters that start at once, both would find the same ports free.

    :raises BadSettings: if there is none.
    """
    for offset in OFFSETS:
        if (claim := _claim(offset)) is None:
            continue
        if all(_free(port + offset) for port in ALL_PORTS):
            return offset, claim
        claim.close()
    raise BadSettings("other clusters have claimed all ports; end one of them")


def _claim(offset: int) -> TextIO | None:
    """None if somebody else has it. The system ends a claim with its process."""
    place = Path(tempfile.gettempdir()) / f"realm-ports-{os.getuid()}-{offset}.lock"
    file = place.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
