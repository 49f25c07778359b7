"""Runs a service that finds its gRPC peers at another host: `routed.py HERE THERE MODULE`.

What a name server would do: a leader's address is the same for every gateway that reads it in the
store, and each must be cut off by itself. Run by path, so it imports nothing of the bench's.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import grpc.aio


def main(here: str, there: str, module: str) -> None:
    plain = grpc.aio.insecure_channel

    def routed(target: str, *given: Any, **more: Any) -> grpc.aio.Channel:
        return plain(target.replace(here, there), *given, **more)

    grpc.aio.insecure_channel = routed
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
