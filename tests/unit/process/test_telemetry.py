"""Logs: one JSON line an event, from every thread and every library."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import logging, sys, threading
import structlog
from realm.process import telemetry
from realm.settings import load_settings

telemetry.set_up(load_settings(), "tester")
log = structlog.get_logger("realm.tests")
log.info("ours", answer=42)
log.debug("unwanted")
thread = threading.Thread(target=lambda: log.info("from_a_thread"))
thread.start()
thread.join(10)
logging.getLogger("some.library").warning("theirs %s", "too")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""


def lines() -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
        check=True,
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_json_and_names_service_and_process() -> None:
    found = lines()
    assert [line["event"] for line in found] == ["ours", "from_a_thread", "theirs too", "broken"]
    assert {line["service"] for line in found} == {"tester"}
    assert len({line["pid"] for line in found}) == 1
    assert found[0]["answer"] == 42
    assert found[2]["level"] == "warning"
    assert "ZeroDivisionError" in str(found[3]["exception"])


def test_logging_to_a_full_disk_does_not_stop_the_process() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", f"{PROGRAM}\nprint('went on')"],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=60,
            cwd=Path(__file__).parents[3],
            check=False,
        )
    assert done.stdout == "went on\n"
