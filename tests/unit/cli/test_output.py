"""Results are printed whole: every field of a message, any text, on any terminal."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from realm.cli.output import Terminal, field_rows
from realm.v1 import index_pb2
from tests.unit.cli.conftest import Shell, run

QUESTION = "who built the tower"


def shown(text: str, encoding: str = "utf-8", **options: Any) -> str:
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Terminal(file=screen, color_system=None, soft_wrap=True, highlight=False, **options)
    console.print(text, markup=False)
    screen.flush()
    return screen.buffer.getvalue().decode(encoding)


@given(st.text())
def test_no_text_gives_the_terminal_an_order(text: str) -> None:
    out = shown(text)
    assert not {each for each in out if ord(each) < 0x20 or 0x7F <= ord(each) < 0xA0} - {"\n"}


def test_orders_are_taken_out_of_tables_and_styles_stay() -> None:
    console = Terminal(force_terminal=True, color_system="standard", width=40)
    table = Table()
    table.add_row("[bold]kea[/]", "a\x1b]0;owned\x07b\x9bc")
    with console.capture() as captured:
        console.print(table)
    out = captured.get()
    assert "owned" in out
    assert "\x1b]" not in out
    assert "\x07" not in out
    assert "\x9b" not in out
    assert "\x1b[1m" in out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
async def test_an_answer_is_printed_whatever_the_encoding_lacks(
    realm: Shell, encoding: str, monkeypatch: Any
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    done = await realm("ask", QUESTION, "--passages", "3")
    screen.flush()
    out = screen.buffer.getvalue().decode(encoding)
    assert done.code == 0
    assert "p(y|x)" in out
    assert "generation 1, snapshot 1" in out


@pytest.mark.parametrize("columns", ["1", "2", "10", "0", "-3", "many"])
async def test_a_terminal_may_be_of_any_width(realm: Shell, columns: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for command in (["ask", QUESTION], ["search", QUESTION], ["status"], ["generations", "list"]):
        assert (await realm(*command)).code == 0


def test_help_is_printed_where_the_encoding_lacks_its_lines(monkeypatch: Any) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert run(["--help"]) == 0


def test_a_reader_that_went_is_no_fault() -> None:
    """`realm settings | head -1`."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "realm.cli.main", "settings"]
    with os.fdopen(theirs, "w") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert not done.stderr


def test_a_working_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = "import os, sys; os.rmdir(os.getcwd()); os.execv(sys.argv[1], sys.argv[1:])"
    realm = str(Path(sys.executable).with_name("realm"))
    done = subprocess.run(
        [sys.executable, "-c", program, realm, "settings"], cwd=gone, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "the working directory does not exist" in done.stderr
    assert done.stderr.count("\n") == 1


def test_every_field_of_a_message_is_printed_by_its_type() -> None:
    generation = index_pb2.Generation(
        generation=3,
        snapshot=index_pb2.Snapshot(number=2, step=10),
        state=index_pb2.GENERATION_STATE_LIVE,
        gate={"recall@10": 0.98765432, "count": 10},
        reason="[b]because",
    )
    generation.created_at.GetCurrentTime()
    assert field_rows(generation, {}, {}) == [
        ("generation", "3"),
        ("snapshot", "number 2, step 10"),
        ("state", "live"),
        ("created at", "0 s ago"),
        ("gate: count", "10"),
        ("gate: recall@10", "0.987654"),
        ("reason", "[b]because"),
    ]
    status = index_pb2.IndexStatus(damage="lost", gateways=[index_pb2.Gateway(gateway_id="a")])
    rows = field_rows(status, {"damage": [], "live": [("live", "nothing")]}, {})
    assert rows == [("live", "nothing"), ("gateway", "gateway id a")]
