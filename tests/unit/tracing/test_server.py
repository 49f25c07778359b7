"""Which calls are recorded, and what those that are not hand on."""

import json
from pathlib import Path
from typing import Any

from tests.unit.tracing.test_tracing import python

#: Each call in a context of its own, as a server's calls are.
PROGRAM = """
import contextvars, json, random
from opentelemetry import propagate
from realm import tracing
from realm.tracing import rpc as traced_rpc

random.seed(7)
assert tracing.set_up("tester", {folder!r})

def call(metadata):
    span = traced_rpc.start_server_span(tracing.tracer(), "/realm.v1.Some/Method", metadata)
    sent = {{}}
    propagate.inject(sent)
    with tracing.span("part"):
        pass
    traced_rpc.end_server_span(span, __import__("grpc").StatusCode.OK, "an-id")
    return {{
        "recorded": span.is_recording() or bool(getattr(span, "end_time", None)),
        "trace": tracing.trace_id(),
        "sent": sent["traceparent"],
    }}

told = {metadata!r}
print(json.dumps([contextvars.copy_context().run(call, told) for _ in range({calls})]))
"""


def calls(folder: Path, metadata: dict[str, str], share: str, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        python(
            PROGRAM.format(folder=str(folder), metadata=metadata, calls=number),
            OTEL_TRACES_SAMPLER="parentbased_traceidratio",
            OTEL_TRACES_SAMPLER_ARG=share,
        )
    )
    return found


def names(folder: Path) -> list[str]:
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [json.loads(line)["name"] for line in lines]


def test_the_sampled_share_is_recorded_and_the_decision_passed_on(
    tmp_path: Path,
) -> None:
    made = calls(tmp_path, {}, "0.5", 400)
    recorded = [each for each in made if each["recorded"]]
    # Drawing twice would leave a quarter.
    assert 160 < len(recorded) < 240
    assert len({each["trace"] for each in made}) == len(made)
    for each in made:
        _, trace, _, flags = each["sent"].split("-")
        assert trace == each["trace"]
        assert bool(int(flags, 16) & 1) == each["recorded"]
    assert sorted(names(tmp_path)) == sorted(["part", "realm.v1.Some/Method"] * len(recorded))


def test_the_caller_s_decision_counts(tmp_path: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    for flags, share, recorded in (("01", "0", True), ("00", "1", False)):
        folder = tmp_path / flags
        (made,) = calls(folder, {"traceparent": f"00-{trace}-b7ad6b7169203331-{flags}"}, share, 1)
        assert made["trace"] == trace
        assert made["recorded"] == recorded
        assert bool(names(folder)) == recorded
