"""A whole cluster beside a Qdrant of several peers, one of which never answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.client import document
from tests.acceptance.running import RunningCluster
from tests.congruence.edge_server import EdgeServer
from tests.silent import silent_port
from tests.waiting import until


@pytest.mark.slow
def test_a_silent_peer_fails_no_question_and_holds_no_refresh_up(tmp_path: Path) -> None:
    server = EdgeServer(tmp_path / "qdrant").start()
    try:
        with silent_port() as silent:
            # Two of three answer; they are one server here, which knows what both would.
            ports = (silent, server.port, server.port)
            peers = ",".join(f"http://127.0.0.1:{port}" for port in ports)
            with RunningCluster(tmp_path / "run", qdrant=peers) as cluster:
                until(
                    lambda: cluster.client.status().live.generation >= 3,
                    "a third generation", 180, cluster.output,
                )  # fmt: skip
                moa = document("moa", "The moa was a giant bird. It is extinct.", title="Moa")
                written = cluster.client.upsert([moa])
                found = cluster.client.search(
                    "giant extinct bird moa", limit=3, at_least_version=written.corpus_version
                )
                assert "moa" in {hit.passage.document_id for hit in found.passages}
                assert found.index_version.corpus_version >= written.corpus_version
            report = cluster.report()
        assert report["queries"]["total"] > 0
        assert report["queries"]["failed"] == 0, report["queries"]["failures"]
        assert report["queries"]["mixed_version"] == 0
        logs = cluster.folder / "state" / "logs"
        assert not (logs / "qdrant.log").exists(), "it used the one that was given"
    finally:
        server.stop()
