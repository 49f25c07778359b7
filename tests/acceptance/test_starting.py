"""Starting, in whatever surroundings: stopped half-way, hung up on, wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.ports import claim_offset
from tests.acceptance.running import END_SECONDS
from tests.waiting import until

#: A folder may have any name.
STATE = 'it\'s a "state" of 100%2F [x]'
REALM = Path(sys.executable).with_name("realm")


@dataclass
class Started:
    process: subprocess.Popen[bytes]
    output: Path
    state: Path

    def says(self, words: str) -> bool:
        assert self.process.poll() is None, self.text
        return words in self.text

    @property
    def text(self) -> str:
        return self.output.read_text()


@contextmanager
def starting(folder: Path, *options: str) -> Iterator[Started]:
    """`realm up` over one document, without training; killed at the end if it still runs."""
    offset, ports = claim_offset()
    corpus = folder / "one.jsonl"
    corpus.write_text('{"id": "kea", "title": "Kea", "text": "Keas are parrots."}\n')
    command = [str(REALM), "up", "--store", str(folder / STATE), "--corpus", str(corpus)]
    command += ["--no-train", "--rate", "0", "--port-offset", str(offset), *options]
    output = folder / "output.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Started(process, output, folder / STATE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        ports.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_while_it_starts_it_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with starting(tmp_path) as started:
        until(lambda: started.says("process=gateway"), "the gateway's start", 120)
        os.kill(started.process.pid, number)
        assert started.process.wait(END_SECONDS) == 0
    assert "Traceback" not in started.text
    assert "process_killed" not in started.text
    # Redis got its own signal, and saved what it had.
    assert "bye bye" in (started.state / "logs" / "redis.log").read_text()


def test_a_fault_at_the_start_is_told_in_one_sentence(tmp_path: Path) -> None:
    with starting(tmp_path, "--corpus", str(tmp_path / "nowhere")) as started:
        assert started.process.wait(END_SECONDS) == 1
    assert "Traceback" not in started.text
    assert "nowhere" in started.text.splitlines()[-1]
