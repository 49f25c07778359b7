"""What the pages tell a reader to type works over a running cluster, word for word but for
addresses and for what a reader fills in. `tests/unit/test_commands.py` checks all other commands.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.standalone.cluster import HOST, PORTS
from tests.acceptance.running import RunningCluster
from tests.documented import Block, Command, blocks, commands
from tests.waiting import until

PROGRAMS = ("realm", "curl", "buf")
#: What takes another machine, the network or minutes, and what tries it.
ELSEWHERE = {
    "realm eval": "tests/unit/evaluation/test_cli.py",
    "realm model train-retriever": "tests/unit/cli/test_training.py",
    "realm plan": "tests/unit/cli/test_plan.py",
    "realm snapshots publish": "tests/acceptance/test_another_model.py",
    "realm generations commit": "tests/acceptance/test_another_model.py",
    "realm report --json run.json": "tests/unit/cli/test_report.py",
    "buf generate": "tests/integration/test_examples.py",
}
#: They go on until Ctrl-C.
ENDLESS = ("realm watch", "curl -N")
#: A newcomer's cluster need not have what they ask for; then they say so in a sentence.
MAY_REFUSE = (
    "realm rollback",  # nothing is retained
    "realm keys revoke",  # the page's key is another cluster's
    "realm snapshots",  # the numbers of the page are
    "realm recorded forget",  # nothing is recorded
    "realm corpus verify-erased",  # what was deleted a moment ago is not
)
PATIENCE = 120.0
FILLED_IN = {"ID": "Kea-1", "ID…": "Kea-1", "DOCUMENT-ID": "Kea-1", "NUMBER": "1"}
FILES = {
    "documents.jsonl": json.dumps({"id": "moa", "text": "Moas are gone.", "title": "Moa"}),
    "faq.csv": "question,answer\nWho feeds the kea?,The keeper.\n",
    "FILE": "Keas are parrots of the Alps.",
}


def is_run(command: Command) -> bool:
    if not command.words or Path(command.words[0]).name not in PROGRAMS:
        return False
    return not begins(command, ELSEWHERE) and not any("[" in word for word in command.words)


def begins(command: Command, starts: object) -> bool:
    text = " ".join([Path(command.words[0]).name, *command.words[1:]])
    return any(text.startswith(each) for each in starts)  # type: ignore[attr-defined]


class Reader:
    """Types what the pages say, in a folder of its own."""

    def __init__(self, cluster: RunningCluster, folder: Path) -> None:
        self.folder = folder
        self._state = cluster.folder / "state"
        ports = {PORTS[name]: PORTS[name] + cluster.offset for name in ("gateway", "web")}
        self._replaced = {f"{HOST}:{old}": f"{HOST}:{new}" for old, new in ports.items()}
        self._replaced["Client()"] = f'Client("{cluster.gateway}")'
        qdrant, redis = (PORTS[name] + cluster.offset for name in ("qdrant", "redis"))
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "REALM_GATEWAY_ADDRESS": cluster.gateway,
            "REALM_STORE_URL": str(self._state / "store"),
            "REALM_QDRANT_URL": f"http://{HOST}:{qdrant}",
            "REALM_REDIS_URL": f"redis://{HOST}:{redis}/0",
        }
        for name, text in FILES.items():
            (folder / name).write_text(text)

    def types(self, command: Command) -> str:
        """What it printed."""
        program = Path(command.words[0]).name
        words = [program, *(self._word(each) for each in command.words[1:])]
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            env={**self._environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            seen = process.stdout.readline() if begins(command, ENDLESS) and process.stdout else ""
            if seen:
                process.send_signal(signal.SIGINT)
            said = seen + process.communicate(timeout=PATIENCE)[0]
        finally:
            process.kill()
        assert "Traceback" not in said, f"{command}: {said}"
        if begins(command, ENDLESS) or (process.returncode == 1 and begins(command, MAY_REFUSE)):
            assert said.strip(), command
        else:
            assert process.returncode == 0, f"{command}: {said}"
        return said

    def runs(self, block: Block) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self._word(block.code)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{block.name}: {done.stderr}"

    def _word(self, word: str) -> str:
        word = str(self._state) if word == ".realm" else FILLED_IN.get(word, word)
        for old, new in self._replaced.items():
            word = word.replace(old, new)
        return word


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_what_pages_say_works_over_a_running_cluster(tmp_path: Path) -> None:
    assert shutil.which("curl")
    typed: dict[tuple[str, ...], str] = {}
    folder = tmp_path / "reader"
    folder.mkdir()
    with RunningCluster(tmp_path / "run", rate=0.5) as cluster:
        reader = Reader(cluster, folder)
        until(lambda: cluster.client.status().live.generation > 1, "vectors", PATIENCE)
        for command in (each for block in blocks("sh") for each in commands(block)):
            if is_run(command) and command.words not in typed:
                typed[command.words] = reader.types(command)
        for block in blocks("python"):
            if block.page.name != "integrations.md":  # tests/unit/integrations has its fixtures
                reader.runs(block)
    assert len(typed) > 30
    assert any("generation" in said for said in typed.values())
