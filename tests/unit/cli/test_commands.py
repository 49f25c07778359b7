"""The commands against a real gateway: what they print, write and exit with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from realm.cli.output import to_plain
from realm.cli.questions import as_questions, no_answer
from realm.v1 import answer_pb2, index_pb2
from tests.unit.cli.conftest import Shell, run
from tests.unit.gateway.site import NOWHERE, PATIENCE

QUESTION = "who built the tower"


async def test_search_prints_passages_and_their_origin(realm: Shell) -> None:
    done = await realm("search", QUESTION, "--limit", "2")
    assert done.code == 0
    assert "1. p(z|x) 0." in done.out
    assert "(g1-" in done.out
    assert "generation 1, snapshot 1 (step 10), corpus version 1" in done.out
    found = json.loads((await realm("search", QUESTION, "--limit", "2", "--json")).out)
    assert len(found["passages"]) == 2
    assert found["index_version"]["lag_steps"] == 0
    assert found["passages"][0]["passage"]["metadata"]["prefix"] == "g1"


async def test_ask_prints_answer_and_sources(realm: Shell) -> None:
    done = await realm("ask", *QUESTION.split(), "--answers", "2")
    assert done.code == 0
    assert done.out.count("p(y|x)") == 2
    assert "p(y|z,x)" in done.out
    found = json.loads((await realm("ask", QUESTION, "--json")).out)
    assert found["question"] == QUESTION
    assert found["answers"][0]["text"]


async def test_metadata_bound_what_is_searched_and_asked(realm: Shell) -> None:
    where = ("--where", "tenant=acme", "--where", "number<3")
    found = json.loads((await realm("search", QUESTION, *where, "--json")).out)
    assert sorted(each["passage"]["metadata"]["number"] for each in found["passages"]) == ["0", "2"]
    answered = json.loads((await realm("ask", QUESTION, *where, "--json")).out)
    sources = answered["answers"][0]["sources"]
    assert {each["passage"]["metadata"]["tenant"] for each in sources} == {"acme"}
    nothing = await realm("search", QUESTION, "--where", "tenant=nobody")
    assert "perhaps no document has such metadata" in nothing.out
    wrong = await realm("ask", QUESTION, "--where", "number>many")
    assert (wrong.code, wrong.out) == (1, "")
    assert "give a number" in wrong.err


async def test_several_questions_are_answered_in_order(realm: Shell) -> None:
    done = await realm("ask", QUESTION, "is paris in a river", "  ", "--json")
    assert done.code == 1
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["question"] for line in lines] == [QUESTION, "is paris in a river", "  "]
    assert lines[0]["answers"]
    assert "empty" in lines[2]["error"]


def test_words_are_one_question_and_quotes_make_several() -> None:
    assert as_questions(["who", "built", "it"]) == ["who built it"]
    assert as_questions(["who built it", "why?"]) == ["who built it", "why?"]


async def test_bad_input_is_one_sentence_and_code_1(realm: Shell) -> None:
    done = await realm("search", " ")
    assert (done.code, done.out) == (1, "")
    assert done.err == "realm: the question is empty: give at least one word\n"


def test_nobody_there_is_one_sentence(capsys: Any) -> None:
    assert run(["status", "--address", NOWHERE, "--timeout", "5"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"realm: the gateway at {NOWHERE} cannot be reached")
    assert "`make run`" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("search", "missing argument 'question'; see `realm search --help`"),
        (
            "search kea --limit 0",
            "invalid value for '--limit': Input should be greater than or equal to 1;",
        ),
        ("serch", "no such command 'serch'. Did you mean 'search'?; see `realm --help`"),
        ("recorded forget", "invalid value: give a piece of the questions to forget, or --all;"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(capsys: Any, line: str, sentence: str) -> None:
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"realm: {sentence}")
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize("line", ["", "corpus"])
def test_without_a_command_help_is_printed(capsys: Any, line: str) -> None:
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    assert "Usage: realm" in out + err
    assert "realm: " not in err


async def test_status_and_watch(realm: Shell) -> None:
    done = await realm("status")
    assert "generation 2, snapshot 2 (step 20)" in done.out
    assert "one: generation 2, ready" in done.out
    assert json.loads((await realm("status", "--json")).out)["live"]["generation"] == 2
    watching = asyncio.create_task(realm("watch", "--json", "--updates", "2"))
    async with asyncio.timeout(PATIENCE):
        while not watching.done():
            realm.indexer.paused = not realm.indexer.paused
            async with realm.indexer.changed:
                realm.indexer.changed.notify_all()
            await asyncio.sleep(0.05)
    lines = [json.loads(line) for line in (await watching).out.splitlines()]
    assert len(lines) == 2
    assert lines[0]["paused"] != lines[1]["paused"]


async def test_pause_and_resume(realm: Shell) -> None:
    assert (await realm("pause")).out == "automatic refresh is paused\n"
    assert realm.indexer.paused
    assert json.loads((await realm("resume", "--json")).out) == {"paused": False}
    assert not realm.indexer.paused


async def test_generations(realm: Shell) -> None:
    done = await realm("generations", "list")
    assert "rejected" in done.out
    assert "probes fell" in done.out
    found = json.loads((await realm("generations", "list", "--json", "--limit", "1")).out)
    assert [each["generation"] for each in found] == [2]
    assert found[0]["state"] == "GENERATION_STATE_LIVE"
    assert "gate: recall" in (await realm("generations", "show", "2")).out
    done = await realm("generations", "show", "9")
    assert done.code == 1
    assert "no generation 9" in done.err


async def test_rollback_without_a_retained_generation(realm: Shell) -> None:
    done = await realm("rollback")
    assert (done.code, done.err) == (
        1,
        "realm: there is no retained generation to roll back to\n",
    )


async def test_refresh_is_asked_for(realm: Shell) -> None:
    done = await realm("refresh", "--reason", "new base")
    assert done.out == "building a generation from snapshot 2\n"
    assert realm.indexer.refreshes == ["new base"]


@pytest.mark.parametrize("refused", [False, True])
async def test_refresh_waits_until_it_answers_or_is_refused(realm: Shell, refused: bool) -> None:
    indexer = realm.indexer

    def after() -> index_pb2.IndexStatus:
        status = type(indexer).status(indexer)
        if refused:
            status.last_refresh.generation = 3
            status.last_refresh.state = index_pb2.GENERATION_STATE_REJECTED
            status.last_refresh.reason = "probes fell"
        else:
            status.live.generation = 3
            status.gateways[0].generation = 3
        return status

    waiting = asyncio.create_task(realm("refresh", "--wait", "--patience", "20", "--json"))
    async with asyncio.timeout(PATIENCE):
        while not indexer.refreshes:
            await asyncio.sleep(0.01)
        assert not waiting.done()
        indexer.status = after  # type: ignore[method-assign]
        while not waiting.done():
            async with indexer.changed:
                indexer.changed.notify_all()
            await asyncio.sleep(0.05)
    done = await waiting
    if refused:
        assert done.code == 1
        assert "generation 3 was refused: probes fell" in done.err
    else:
        assert json.loads(done.out)["live"]["generation"] == 3


async def test_refresh_that_does_not_come_ends_the_wait(realm: Shell) -> None:
    done = await realm("refresh", "--wait", "--patience", "0.3")
    assert done.code == 1
    assert "no new generation is live after 0.3 s" in done.err


def test_interrupt_is_code_130() -> None:
    """Against a port that accepts and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        # A shell's background job, as this test may be, begins with interrupts ignored. The child
        # undoes that: a function before exec would make this a fork, among gRPC's threads.
        script = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
            "from realm.cli.main import main; main()"
        )
        command = [sys.executable, "-c", script, "status", "--address"]
        process = subprocess.Popen(
            [*command, f"127.0.0.1:{silent.getsockname()[1]}"],
            stderr=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if "REALM_" not in key},
        )
        silent.settimeout(PATIENCE)
        connection, _ = silent.accept()  # the call is under way
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_no_answer_is_told_with_its_probability() -> None:
    silent = answer_pb2.AnswerQuestionResponse()
    assert no_answer(silent) == "No passage holds a readable answer."
    sure = answer_pb2.AnswerQuestionResponse(no_answer_probability=0.8125)
    assert no_answer(sure) == "The passages do not answer this: p 0.812"
    assert to_plain(sure)["no_answer_probability"] == 0.8125
