"""The gate's figures in words: one line a check."""

from __future__ import annotations

NOTHING = float("nan")


def gate_rows(gate: dict[str, float]) -> list[tuple[str, str]]:
    """Name and words of each check; figures that no check names come last, as they are."""
    left = dict(gate)
    rows = [*_index_rows(left), *_probe_rows(left)]
    for name, prefix in (("live", ""), ("best", "best_")):
        if f"{name}_probe_recall@5" in left:
            rows.append((f"gate: against {name}", _against(left, name, prefix)))
    if "search_seconds" in left:
        rows.append(("gate: latency", _latency(left)))
    if left.pop("forced", 0.0):
        rows.append(("gate: overruled", "it found the generation worse, and was not heeded"))
    return rows + [(f"gate: {name}", f"{left[name]:.6g}") for name in sorted(left)]


def _index_rows(left: dict[str, float]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if "expected_count" in left:
        points, expected = left.pop("count", NOTHING), left.pop("expected_count")
        rows.append(("gate: count", f"{points:g} points, {expected:g} by the files"))
    if "sampled" in left:
        wrong, sampled = left.pop("sample_mismatches", NOTHING), left.pop("sampled")
        rows.append(("gate: sample", f"{wrong:g} of {sampled:g} vectors differ from the files"))
    if "recall@10" in left:
        found = left.pop("recall@10")
        rows.append(("gate: recall", f"recall@10 against exact search {found:.3f}"))
    return rows


def _probe_rows(left: dict[str, float]) -> list[tuple[str, str]]:
    if "probe_recall@5" not in left:
        return []
    words = (
        f"{left.pop('probes', NOTHING):g} questions, R@1 {left.pop('probe_recall@1', NOTHING):.3f},"
        f" R@5 {left.pop('probe_recall@5'):.3f}, MRR {left.pop('probe_mrr', NOTHING):.3f}"
    )
    if "probes_recorded" in left:
        words += f", {left.pop('probes_recorded'):g} of them users'"
    if "probe_search_seconds" in left:
        words += f", searched in {left.pop('probe_search_seconds'):.2f} s"
    return [("gate: probes", words)]


def _against(left: dict[str, float], name: str, prefix: str) -> str:
    theirs = left.pop(f"{name}_probe_recall@5")
    fall = left.pop(f"{prefix}probe_recall_fall", NOTHING)
    p_value = left.pop(f"{prefix}probe_p_value", NOTHING)
    words = f"R@5 {theirs:.3f}, a fall of {fall:+.3f} (p = {p_value:.4f})"
    if name == "best":
        words += (
            f"; generation {left.pop('best_generation', NOTHING):g},"
            f" {left.pop('best_probes', NOTHING):g} questions on unchanged documents"
        )
    return words


def _latency(left: dict[str, float]) -> str:
    mine, theirs = left.pop("search_seconds"), left.pop("live_search_seconds", NOTHING)
    slower, pairs = left.pop("search_slower", NOTHING), left.pop("search_pairs", NOTHING)
    return (
        f"a search {mine * 1000:.1f} ms, with live {theirs * 1000:.1f} ms;"
        f" too slow in {slower:g} of {pairs:g} pairs"
    )
