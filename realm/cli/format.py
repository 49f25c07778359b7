"""The index in words: what `status`, `watch`, `search` and `generations` print."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rich.markup import escape
from rich.table import Table

from realm.cli.gate_report import gate_rows
from realm.v1 import answer_pb2, index_pb2, retrieval_pb2, types_pb2

EXCERPT = 240


def state_name(state: int) -> str:
    name: str = index_pb2.GenerationState.Name(state)
    return name.removeprefix("GENERATION_STATE_").lower()


def duration(seconds: float) -> str:
    """`75` → `1 min 15 s`, to two units."""
    whole = max(0, round(seconds))
    parts = []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def ago(moment: Timestamp) -> str:
    return duration(time.time() - moment.ToNanoseconds() / 1e9)


def origin(version: types_pb2.IndexVersion) -> str:
    """Where an answer comes from, in one line."""
    lag = f", {version.lag_steps} steps behind" if version.lag_steps else ""
    return (
        f"generation {version.generation}, snapshot {version.snapshot} (step {version.step}),"
        f" corpus version {version.corpus_version}{lag}"
    )


def status_table(status: index_pb2.IndexStatus) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    for name, value in status_rows(status):
        table.add_row(name, value)
    return table


def status_rows(status: index_pb2.IndexStatus) -> list[tuple[str, str]]:
    rows = [("live", _live(status)), ("index lag", _lag(status))]
    if status.HasField("newest_snapshot"):
        rows.append(("newest snapshot", _snapshot(status.newest_snapshot)))
    rows.append(("corpus", f"version {status.corpus_version}"))
    if count := status.parked_documents:
        words = "document is" if count == 1 else "documents are"
        rows.append(("parked", f"{count} {words} in no index; `realm corpus parked` names them"))
    if status.damage:
        rows.append(("damage", f"[red]{escape(status.damage)}[/]; it is made again"))
    rows.append(("refresh", refresh_line(status)))
    if status.HasField("last_refresh"):
        rows.append(("last refresh", _last_refresh(status.last_refresh)))
    rows += [("gateway", _gateway(each)) for each in status.gateways]
    return rows


def refresh_line(status: index_pb2.IndexStatus) -> str:
    paused = "paused; `realm resume` goes on" if status.paused else ""
    if not status.HasField("refresh"):
        return paused or "none under way"
    refresh = status.refresh
    line = (
        f"generation {refresh.generation} from snapshot {refresh.snapshot.number}:"
        f" {state_name(refresh.state)}, {refresh.shards_completed} of"
        f" {refresh.shards_expected} shards"
    )
    if refresh.HasField("remaining"):
        line += f", about {duration(refresh.remaining.ToNanoseconds() / 1e9)} to go"
    return f"{line} ({paused})" if paused else line


def generations_table(generations: list[index_pb2.Generation]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("generation", "state", "snapshot", "step", "corpus", "begun", "why"):
        table.add_column(heading)
    for each in generations:
        table.add_row(
            str(each.generation),
            state_name(each.state),
            str(each.snapshot.number),
            str(each.snapshot.step),
            str(each.corpus_version),
            f"{ago(each.created_at)} ago",
            escape(each.reason),
        )
    return table


def parked_table(documents: Iterable[index_pb2.ParkedDocument]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("document", "version", "parked", "why"):
        table.add_column(heading, overflow="fold")
    for each in documents:
        parked = f"{ago(each.parked_at)} ago"
        table.add_row(escape(each.document_id), str(each.version), parked, escape(each.reason))
    return table


def generation_table(generation: index_pb2.Generation) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    table.add_row("generation", str(generation.generation))
    table.add_row("state", state_name(generation.state))
    table.add_row("snapshot", _snapshot(generation.snapshot))
    table.add_row("corpus", f"version {generation.corpus_version}")
    table.add_row("begun", f"{ago(generation.created_at)} ago")
    if generation.reason:
        table.add_row("why", escape(generation.reason))
    if generation.forced:
        table.add_row("forced by", escape(generation.forced))
    for name, words in gate_rows(dict(generation.gate)):
        table.add_row(name, words)
    return table


def passage_lines(place: int, found: retrieval_pb2.RetrievedPassage) -> list[str]:
    passage = found.passage
    head = f"[bold]{place}.[/] p(z|x) {found.probability:.3f}  {_title(passage)}"
    return [head, f"   {escape(_excerpt(passage.text))}"]


def no_answer_line(response: answer_pb2.AnswerQuestionResponse) -> str:
    if not response.no_answer_probability:
        return "No passage holds a readable answer."
    return f"The passages do not answer this: p {response.no_answer_probability:.3f}"


def no_passage_line(response: retrieval_pb2.RetrievePassagesResponse) -> str:
    """By vectors some passage always matches; by words, perhaps none of many."""
    if response.retrieval == types_pb2.RETRIEVAL_BM25:
        return "No passage matched: none holds any of these words."
    return "The index holds no passage."


def answer_lines(answer: answer_pb2.Answer) -> list[str]:
    lines = [f"[bold]{escape(answer.text)}[/]  p(y|x) {answer.probability:.3f}"]
    for source in answer.sources:
        passage = source.passage
        begin, end = source.start - passage.start, source.end - passage.start
        before, after = passage.text[:begin], passage.text[end:]
        lines.append(
            f"   p(z|x) {source.retrieval_probability:.3f}"
            f"  p(y|z,x) {source.reading_probability:.3f}"
            f"  {_title(passage)} at {source.start}–{source.end}"
        )
        lines.append(
            f"   {escape(_tail(before))}[bold underline]{escape(passage.text[begin:end])}[/]"
            f"{escape(_excerpt(after, EXCERPT // 2))}"
        )
    return lines


def _live(status: index_pb2.IndexStatus) -> str:
    if not status.HasField("live"):
        return "nothing yet"
    since = f", for {ago(status.live.live_since)}" if status.live.HasField("live_since") else ""
    return origin(status.live) + since


def _lag(status: index_pb2.IndexStatus) -> str:
    if not status.HasField("live"):
        return "unknown: nothing is live"
    if not status.live.lag_steps and not status.live.lag.ToNanoseconds():
        return "none"
    behind = duration(status.live.lag.ToNanoseconds() / 1e9)
    return f"{status.live.lag_steps} steps, {behind}"


def _snapshot(snapshot: index_pb2.Snapshot) -> str:
    line = f"{snapshot.number} (step {snapshot.step})"
    if snapshot.HasField("published_at"):
        line += f", published {ago(snapshot.published_at)} ago"
    return line


def _last_refresh(refresh: index_pb2.Refresh) -> str:
    phases: Any = refresh.phase_seconds
    total = f" in {duration(phases['total'])}" if "total" in phases else ""
    reason = f": {escape(refresh.reason)}" if refresh.reason else ""
    return f"generation {refresh.generation} {state_name(refresh.state)}{total}{reason}"


def _gateway(gateway: index_pb2.Gateway) -> str:
    ready = "ready" if gateway.ready else "not ready"
    return f"{escape(gateway.gateway_id)}: generation {gateway.generation}, {ready}"


def _title(passage: types_pb2.Passage) -> str:
    name = f"{escape(passage.title)} " if passage.title else ""
    return f"{name}[dim]({escape(passage.document_id)}, version {passage.document_version})[/]"


def _excerpt(text: str, most: int = EXCERPT) -> str:
    line = " ".join(text.split()) if most == EXCERPT else text.replace("\n", " ")
    return line if len(line) <= most else line[:most].rstrip() + " …"


def _tail(text: str) -> str:
    line = text.replace("\n", " ")
    most = EXCERPT // 2
    return line if len(line) <= most else "… " + line[-most:].lstrip()
