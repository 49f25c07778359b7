"""schemathesis asks whatever the OpenAPI document allows, and more: nothing is a server's fault."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from services.web.events import PATH as EVENTS
from tests.unit.web.place import Place

EXAMPLES = 60


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_no_request_is_answered_by_a_fault_or_otherwise_than_described(place: Place) -> None:
    address = f"http://127.0.0.1:{place.service.port}"
    asked = await asyncio.to_thread(ask_everything, address)
    described = (await place.http.get("/openapi.json")).json()["paths"]
    assert asked == sum(len(methods) for methods in described.values()) - 1


def ask_everything(address: str) -> int:
    """How many operations were asked."""
    import schemathesis
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    # That stream does not end by itself.
    found = [each for each in map(usable, schema.get_all_operations()) if each.path != EVENTS]
    for operation in found:
        for mode in GenerationMode:
            ask(operation, mode)
    return len(found)


def usable(operation: Any) -> Any:
    """An operation that was read without a fault."""
    return operation.ok()


def no_fault(_context: Any, response: Any, _case: Any) -> None:
    """503 and 504 are answers to a deadline too short."""
    assert response.status_code not in (500, 501, 502), response.text


def ask(operation: Any, mode: Any) -> None:
    from schemathesis.specs.openapi import checks

    wanted = [
        no_fault,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode))
    def one(case: Any) -> None:
        case.call_and_validate(checks=wanted)

    with suppress(Unsatisfiable):  # what takes nothing cannot be sent what it does not take
        one()
