"""Writes `docs/metrics.md` from the metrics that the services declare; `--check` only compares.

`catalogue` is also what rules, dashboards and their tests are checked against.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector

from realm.process.rpc import MetricsInterceptor
from realm.process.telemetry import show_build
from services.embedder.metrics import EmbedderMetrics
from services.gateway.metrics import GatewayMetrics
from services.indexer.metrics import IndexerMetrics
from services.trainer.metrics import TrainerMetrics
from services.web.metrics import WebMetrics

TARGET = Path(__file__).parents[1] / "docs" / "metrics.md"
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
}
HEAD = """# Metrics

Made by `python -m tools.metrics_docs` from the code; do not edit.

Each process serves these at `/metrics` on `REALM_METRICS_PORT`. Times are Unix seconds, durations
seconds. Ages are computed in PromQL from timestamps, so that they rise when whoever should end
them is dead: `time() - x` where `x > 0`. Recording rules and alerts are in `deploy/prometheus`,
dashboards in `deploy/grafana`, what to do about an alert in `runbooks`.
"""


def _every_process(registry: CollectorRegistry) -> None:
    show_build("gateway", registry)
    ProcessCollector(registry=registry)


#: What declares the metrics of each section.
SECTIONS: dict[str, Callable[[CollectorRegistry], object]] = {
    "Gateway": GatewayMetrics,
    "Web service": WebMetrics,
    "Indexer": IndexerMetrics,
    "Trainer": TrainerMetrics,
    "Embedder": EmbedderMetrics,
    "gRPC servers (gateway and indexer)": MetricsInterceptor,
    "Every process": _every_process,
}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as it is declared; `buckets` are a histogram's upper bounds."""

    name: str
    kind: str
    words: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> dict[str, set[str]]:
        """The names that PromQL knows, each with its labels."""
        extra = {"_bucket": {"le"}}
        return {
            f"{self.name}{suffix}": {*self.labels, *extra.get(suffix, set())}
            for suffix in SUFFIXES[self.kind]
        }


class _Recorder(CollectorRegistry):
    """Remembers, in order, what is declared in it."""

    def __init__(self) -> None:
        super().__init__()
        self.declared: list[Collector] = []

    def register(self, collector: Collector) -> None:
        self.declared.append(collector)
        super().register(collector)


def declare_all(registry: CollectorRegistry) -> None:
    """Every metric of realm's own processes."""
    for declare in SECTIONS.values():
        declare(registry)


def catalogue() -> dict[str, list[Family]]:
    """Every metric of every process, by section's title."""
    sections: dict[str, list[Family]] = {}
    for title, declare in SECTIONS.items():
        registry = _Recorder()
        declare(registry)
        sections[title] = [each for one in registry.declared for each in _families(one)]
    return sections


def known_series() -> dict[str, set[str]]:
    """Every name that a query may use, with its labels; those of the scrape left out."""
    families = [each for section in catalogue().values() for each in section]
    return {name: labels for each in families for name, labels in each.series.items()}


def _families(collector: Collector) -> Iterator[Family]:
    labels = getattr(collector, "_labelnames", ())
    buckets = tuple(getattr(collector, "_upper_bounds", ()))
    for family in collector.collect():
        seen = {label for sample in family.samples for label in sample.labels} - {"le"}
        yield Family(
            family.name,
            family.type,
            family.documentation,
            tuple(labels) or tuple(sorted(seen)),
            buckets,
        )


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for title, families in catalogue().items():
        parts.append(f"\n## {title}\n\n| metric | kind | labels | what |\n")
        parts.append("| --- | --- | --- | --- |\n")
        parts += [_row(each) for each in families]
    return "".join(parts)


def _row(family: Family) -> str:
    name = next(iter(family.series)).removesuffix("_bucket")
    labels = ", ".join(f"`{each}`" for each in family.labels)
    words = family.words.replace("|", "\\|")
    if family.buckets:
        bounds = ", ".join(f"{bound:g}" for bound in family.buckets[:-1])
        words += f" (buckets {bounds})"
    return f"| `{name}` | {family.kind} | {labels} | {words} |\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not TARGET.exists() or TARGET.read_text() != page():
            raise SystemExit("docs/metrics.md differs from the code: python -m tools.metrics_docs")
    else:
        TARGET.write_text(page())
