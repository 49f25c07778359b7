"""The web service's process: settings, logs, signals."""

from __future__ import annotations

import asyncio
import sys

from realm.errors import BadSettings
from realm.process import memory, telemetry
from realm.process.signals import exit_on_sigterm, stop_signals
from realm.settings import Settings, load_settings
from services.web.server import WebService, run


def main() -> None:
    """Serves until SIGTERM or SIGINT. Exit code 2 and one sentence if it cannot start."""
    exit_on_sigterm()
    try:
        settings = load_settings()
        telemetry.set_up(settings, "web")
        asyncio.run(serve(settings))
    except BadSettings as error:
        sys.stderr.write(f"web: {error.message}\n")
        sys.exit(2)


async def serve(settings: Settings) -> None:
    """:raises BadSettings: if it cannot start."""
    stop = asyncio.Event()
    for number in stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = WebService(settings)
    memory.keep_imports()
    await run(service, stop)


if __name__ == "__main__":
    main()
