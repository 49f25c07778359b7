"""Qdrant Edge (the Qdrant engine as a library) behind Qdrant's own gRPC protocol.

`python -m services.standalone.qdrant_edge --folder F --port 6334` serves one machine; an ordinary
`QdrantClient(host, grpc_port=6334, prefer_grpc=True, check_compatibility=False)` works unchanged.
There is no REST port, so the client's version check at construction (REST) must be switched off.

A front process speaks gRPC and owns `catalogue.json`; a child process owns each collection's
folder for its life. The front passes the bytes of point requests on as they are: only the child
translates, so the engine never holds the front's interpreter lock.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import structlog

from realm.errors import BadSettings, RealmError
from realm.process.signals import stop_signals
from services.standalone.qdrant_edge.registry import Registry
from services.standalone.qdrant_edge.server import build, set_serving

log = structlog.get_logger("services.standalone.qdrant_edge")

#: Seconds for requests in progress to end at shutdown.
GRACE = 5.0
#: Above this many points a graph is worth building; below, a full scan takes about 1 ms.
OPTIMIZE_ABOVE = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.standalone.qdrant_edge",
        description="Serves a folder of Qdrant Edge collections.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the collections lie")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6334, help="0 takes a free one, and logs it")
    parser.add_argument(
        "--optimize-above",
        type=int,
        default=OPTIMIZE_ABOVE,
        metavar="POINTS",
        help="collections of more points build a vector index when asked to optimize",
    )
    arguments = parser.parse_args()
    log_to_stderr()
    try:
        asyncio.run(
            serve(arguments.folder, arguments.host, arguments.port, arguments.optimize_above)
        )
    except RealmError as error:
        log.error("qdrant_edge_refused", error=error.message)
        sys.exit(1)


def log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def serve(folder: Path, host: str, port: int, optimize_above: int) -> None:
    """Until SIGTERM or SIGINT; then requests in progress end, and the engines flush.

    :raises BadSettings: if the port is taken.
    :raises FailedPrecondition: if another process serves the folder.
    """
    stopping = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    registry = Registry(folder, optimize_above)
    server, healthy = build(registry)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise BadSettings(
            f"cannot listen on {host}:{port}: it is in use, or not an address of this machine; stop"
            " the other process or give another --port"
        ) from error
    try:
        await registry.open()
        await server.start()
        await set_serving(healthy)
        log.info("qdrant_edge_serving", host=host, port=bound, folder=str(folder))
        await stopping.wait()
        log.info("qdrant_edge_stopping")
        await healthy.enter_graceful_shutdown()
        await server.stop(GRACE)
    finally:
        await registry.close()
    log.info("qdrant_edge_stopped")


if __name__ == "__main__":
    main()
