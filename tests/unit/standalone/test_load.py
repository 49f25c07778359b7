"""The load generator asks again while no gateway is ready, and logs how often."""

from __future__ import annotations

import time
from pathlib import Path

from realm.errors import NotReady
from realm.settings import load_settings
from services.standalone.load import __main__ as load
from services.standalone.load.request_log import RequestRecord, read_records


async def test_a_request_is_sent_again_until_a_gateway_is_ready(tmp_path: Path) -> None:
    settings = load_settings(store_url=str(tmp_path / "store"))
    generator = load.LoadGenerator(settings, tmp_path / "requests.jsonl", rate=1.0)
    attempts = 0

    async def ask(kind: str, question: str, *, audit: bool) -> RequestRecord:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise NotReady("no model yet")
        return RequestRecord(time.time(), kind, 0.1, generation=1)

    generator._ask = ask  # type: ignore[method-assign]
    await generator._send("why?", 0)
    (record,), _ = read_records(tmp_path / "requests.jsonl")
    assert (record.retries, record.failed, record.generation) == (2, "", 1)
