"""The whole loop on one machine, as a newcomer runs it."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from bench.history.recorder import Recorder
from realm.client import document
from tests.acceptance.recorded import RecordedUser, history_file
from tests.acceptance.running import RAN, RunningCluster
from tests.waiting import until


def test_it_learns_refreshes_answers_and_ends_clean(tmp_path: Path) -> None:
    with RunningCluster(tmp_path / "run") as cluster:
        children = psutil.Process(cluster.pid).children(recursive=True)
        written = cluster.client.upsert(
            [document("moa", "The moa was a giant bird. It is extinct.", title="Moa")]
        )
        found = cluster.client.search(
            "giant extinct bird moa", limit=3, at_least_version=written.corpus_version
        )
        assert "moa" in {hit.passage.document_id for hit in found.passages}
        assert found.index_version.corpus_version >= written.corpus_version

        until(
            lambda: cluster.client.status().live.generation >= 3,
            "a third generation",
            120,
            cluster.output,
        )
        found = cluster.client.search("giant extinct bird moa", limit=3)
        assert "moa" in {hit.passage.document_id for hit in found.passages}
        gone = cluster.client.delete(["moa"])
        found = cluster.client.search(
            "giant extinct bird moa", limit=10, at_least_version=gone.corpus_version
        )
        assert "moa" not in {hit.passage.document_id for hit in found.passages}
        pair = document("faq", "Who feeds the moa?", answer="The keeper, at noon.")
        written = cluster.client.upsert([pair])
        asked = cluster.client.ask(
            "who is it that feeds the moa", at_least_version=written.corpus_version
        )
        assert (asked.answers[0].text, asked.answers[0].stored) == ("The keeper, at noon.", True)
        assert asked.answers[0].sources[0].passage.document_id == "faq"
        answered = cluster.client.ask("Who wrote Redis?", passages=3)
        assert answered.answers
        assert answered.answers[0].sources

    logs = [cluster.folder / "output.log", *(cluster.folder / "state" / "logs").iterdir()]
    assert not [log for log in logs if RAN in log.read_text(errors="replace")]
    report = cluster.report()
    assert report["generations_live"] >= 3
    assert report["queries"]["total"] > 0
    assert report["queries"]["audited"] > 0
    assert report["queries"]["failed"] == 0, report["queries"]["failures"]
    assert report["queries"]["mixed_version"] == 0
    assert set(report["refresh_latency_seconds"]) >= {"embed", "load", "validate", "total"}
    until(lambda: not any(child.is_running() for child in children), "the children's end", 10)


@pytest.mark.slow
def test_a_second_run_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    with RunningCluster(tmp_path / "run") as cluster:
        cluster.client.upsert([document("moa", "The moa was a giant bird.", title="Moa")])
        until(
            lambda: cluster.client.status().newest_snapshot.step >= 2,
            "a trained snapshot",
            120,
            cluster.output,
        )
        before = cluster.client.status()
    with RunningCluster(tmp_path / "run") as cluster:
        after = cluster.client.status()
        assert after.corpus_version >= before.corpus_version
        assert after.live.generation >= before.live.generation
        assert after.newest_snapshot.number >= before.newest_snapshot.number
        assert cluster.client.get("moa").document.text == "The moa was a giant bird."


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_process_may_be_killed(tmp_path: Path) -> None:
    names = [
        "web", "embedder", "embedder-delta", "trainer", "indexer", "gateway", "qdrant", "redis",
    ]  # fmt: skip
    history = history_file(tmp_path)
    with RunningCluster(tmp_path / "run") as cluster, Recorder(history) as recorder:
        user = RecordedUser(cluster, recorder)
        for name in names:
            generation = cluster.client.status().live.generation
            killed = cluster.kill(name)
            until(lambda: is_back(cluster, name, killed), f"{name} to be back", 60)  # noqa: B023
            until(cluster.answers, f"answers after {name} was killed", 60)
            key = f"after-{name}"
            text = f"This note was written after {name} had been killed."
            user.write(key, text, f"note written after {key}")
            until(
                lambda: cluster.client.status().live.generation > generation,  # noqa: B023
                f"a new generation after {name} was killed",
                150,
                cluster.output,
            )
        report = user.read_everything()
    assert report.holds, (history, report.violations, report.gaps)
    assert report.decisive >= len(names)
    queries = cluster.report()["queries"]
    assert queries["mixed_version"] == 0
    assert queries["failed"] == 0, queries["failures"]


@pytest.mark.slow
def test_a_killed_supervisor_leaves_nothing_behind_and_loses_nothing(tmp_path: Path) -> None:
    with RunningCluster(tmp_path / "run") as cluster:
        children = psutil.Process(cluster.pid).children(recursive=True)
        cluster.client.upsert([document("moa", "The moa was a giant bird.", title="Moa")])
        os.kill(cluster.pid, signal.SIGKILL)
        until(lambda: not any(map(lives, children)), "the children's end", 10)
    with RunningCluster(tmp_path / "run") as cluster:
        assert cluster.client.get("moa").document.text == "The moa was a giant bird."


def lives(process: psutil.Process) -> bool:
    """A zombie is dead: nobody is left here to bury it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_back(cluster: RunningCluster, name: str, killed: int) -> bool:
    try:
        return cluster.pid_of(name) != killed
    except AssertionError:
        return False
