"""The demonstration: asked in Chinese, a running cluster finds nothing; it moves, under load, to a
model that knows the language, and the same questions find their passages."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from realm.model import multilingual
from services.standalone.cluster import HOST, PORTS
from tests.acceptance.running import RunningCluster
from tests.waiting import until

#: By title of the fact, which is in English: no word and no letter is shared.
QUESTIONS = {
    "Kea": "生活在新西兰高山地区的大鹦鹉叫什么名字？",
    "Takahe": "哪种不会飞的鸟曾被认为已经灭绝，后来又被重新发现？",
    "Tuatara": "哪种爬行动物看起来像蜥蜴，可以活一百年？",
    "Redis": "谁编写了这个内存数据库？",
}
SETTINGS: dict[str, Any] = {
    # It comes without a trained reader: the gate would refuse what it answers, and the question
    # here is what it finds.
    "REALM_GATE_READINGS": "0",
    "REALM_OBJECTIVES": "inverse_cloze=1",
    "REALM_TRAIN_PASSAGE_TOKENS": "64",
    # A snapshot of this model is a gigabyte.
    "REALM_SNAPSHOT_EVERY_STEPS": "4",
    "REALM_SNAPSHOT_MIN_SECONDS": "5",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    importlib.util.find_spec(multilingual.PACKAGE) is None,
    reason="realm[multilingual] is not installed",
)
def test_asked_in_chinese_a_cluster_finds_nothing_until_it_has_moved_to_another_model(
    tmp_path: Path,
) -> None:
    with RunningCluster(tmp_path / "run", **SETTINGS) as cluster:
        assert rightly_found(cluster) == []
        published = publish(cluster, multilingual.NAME)
        until(
            lambda: answering_snapshot(cluster) >= published,
            "the model answers",
            300,
            cluster.output,
        )
        assert rightly_found(cluster) == list(QUESTIONS)
        assert answering_snapshot(cluster) == published
        until(
            lambda: answering_snapshot(cluster) > published,
            "what the trainer made of it answers",
            300,
            cluster.output,
        )
        assert rightly_found(cluster) == list(QUESTIONS)
    queries = cluster.report()["queries"]
    assert queries["total"] > 0
    assert queries["failed"] == 0, queries["failures"]
    assert queries["mixed_version"] == 0


def answering_snapshot(cluster: RunningCluster) -> int:
    return cluster.client.search("anything", limit=1).index_version.snapshot


def rightly_found(cluster: RunningCluster) -> list[str]:
    """Titles that their questions find first."""
    return [
        title
        for title, question in QUESTIONS.items()
        if cluster.client.search(question, limit=1).passages[0].passage.title == title
    ]


def publish(cluster: RunningCluster, model: str) -> int:
    """By the command, as an operator does; the snapshot's number."""
    redis = f"redis://{HOST}:{PORTS['redis'] + cluster.offset}/0"
    store = str(cluster.folder / "state" / "store")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "realm.cli.main", "snapshots", "publish", model),
            *("--store", store, "--json"),
        ],
        env={**os.environ, "REALM_REDIS_URL": redis},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["snapshot"])
