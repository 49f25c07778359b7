"""A language model behind an API like OpenAI's answers through realm, asked by OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import openai
import pytest

from realm.errors import BadSettings
from realm.settings import load_settings
from services.web.chat import NO_ANSWER
from services.web.generation import sentences
from tests.http_server import HttpServer, serving
from tests.unit.web.place import Place, standing

MODEL = "realm/parrot:8b"
QUESTION = "Who built the tower?"
MESSAGES: Any = [
    {"role": "user", "content": "What is in Paris?"},
    {"role": "assistant", "content": "A tower."},
    {"role": "user", "content": QUESTION},
]


class Parrot(HttpServer):
    """Says what it was told to say, in small pieces, and notes what it was asked."""

    def __init__(self) -> None:
        self.says = ""
        self.status = 200
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        super().__init__(Speaking)


class Speaking(BaseHTTPRequestHandler):
    server: Parrot

    def do_POST(self) -> None:
        assert self.path == "/v1/chat/completions"
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.keys.append(self.headers["authorization"])
        self.send_response(self.server.status)
        self.end_headers()
        for start in range(0, len(self.server.says), 3):
            delta = {"content": self.server.says[start : start + 3]}
            chunk = {"choices": [{"index": 0, "delta": delta}]}
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b'data: {"choices": []}\n\ndata: [DONE]\n\n')


@pytest.fixture
def parrot() -> Iterator[Parrot]:
    with serving(Parrot()) as server:
        yield server


@pytest.fixture
async def place(tmp_path: Path, parrot: Parrot) -> AsyncIterator[Place]:
    """As of the other tests, with a language model."""
    url = f"{parrot.url}/v1"
    model = {"web_llm_url": url, "web_llm_model": "parrot:8b", "web_llm_key": "crackers"}
    async with standing(tmp_path, **model) as found:
        yield found


async def passages(place: Place) -> list[dict[str, Any]]:
    found = (await place.http.post("/v1/search", json={"question": QUESTION})).json()
    return [each["passage"] for each in found["passages"]]


async def test_its_citations_are_checked_against_what_was_found(
    place: Place, client: openai.AsyncOpenAI, parrot: Parrot
) -> None:
    known = await passages(place)
    second = known[1]
    parrot.says = (
        f"It says: {second['text']} [2] Nineteen elephants painted everything yellow [2]. "
        "Something else [9].\nThat is all."
    )
    found = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    content = found.choices[0].message.content or ""
    body, _, sources = content.partition("\n\n")
    assert body == (
        f"It says: {second['text']} [2] Nineteen elephants painted everything yellow. "
        "Something else.\nThat is all."
    )
    name = f"{second['title']} " if second["title"] else ""
    assert sources.startswith(f"[2] {name}({second['document_id']}, version ")
    assert len(sources.splitlines()) == 1
    (cited,) = (each.url_citation for each in found.choices[0].message.annotations or ())
    assert content[cited.start_index : cited.end_index] == "[2]"
    assert cited.url.rpartition("/")[2] == second["document_id"]
    assert found.system_fingerprint == "generation-1"
    assert found.model == MODEL


async def test_it_reads_the_conversation_and_the_passages(
    place: Place, client: openai.AsyncOpenAI, parrot: Parrot
) -> None:
    parrot.says = NO_ANSWER
    found = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, extra_body={"where": ["number=2"]}
    )
    assert found.choices[0].message.content == NO_ANSWER
    (asked,) = parrot.asked
    system, *conversation = asked["messages"]
    assert conversation == MESSAGES
    assert asked["model"] == "parrot:8b"
    (known,) = [each for each in await passages(place) if each["document_id"] == "g1-2"]
    assert f"[1] {known['title']}\n{known['text']}" in system["content"]
    assert "[2]" not in system["content"].partition("\n\n")[2]
    assert parrot.keys == ["Bearer crackers"]


async def test_a_streamed_answer_is_the_same(
    place: Place, client: openai.AsyncOpenAI, parrot: Parrot
) -> None:
    first = (await passages(place))[0]
    parrot.says = f"One. {first['text']} [1]\nThree is wrong [3]. "
    whole = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
    stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_both_models_are_listed_and_the_reader_still_answers(
    client: openai.AsyncOpenAI, parrot: Parrot
) -> None:
    assert [each.id async for each in client.models.list()] == ["realm", MODEL]
    assert (await client.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError, match=f"ask realm or {MODEL}"):
        await client.chat.completions.create(model="gpt", messages=MESSAGES)
    await client.chat.completions.create(model="realm", messages=MESSAGES)
    assert parrot.asked == []


async def test_where_nothing_is_found_nobody_writes(
    client: openai.AsyncOpenAI, parrot: Parrot
) -> None:
    found = await client.chat.completions.create(
        model=MODEL, messages=MESSAGES, extra_body={"where": ["number=77"]}
    )
    assert found.choices[0].message.content == NO_ANSWER
    assert parrot.asked == []


async def test_a_model_that_fails_is_told_as_a_dependency_that_is_away(
    client: openai.AsyncOpenAI, parrot: Parrot
) -> None:
    parrot.status = 500
    create = client.chat.completions.create
    with pytest.raises(openai.InternalServerError, match="HTTP 500") as failed:
        await create(model=MODEL, messages=MESSAGES)
    assert failed.value.status_code == 503
    stream = await create(model=MODEL, messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="HTTP 500"):
        async for _ in stream:
            pass
    parrot.shutdown()
    parrot.server_close()
    with pytest.raises(openai.InternalServerError, match="cannot be reached"):
        await create(model=MODEL, messages=MESSAGES)


async def test_pieces_become_sentences() -> None:
    text = "One [1]. Two! [2][3] Three e.g. four?\nFive 。Six"

    async def pieces(size: int) -> AsyncIterator[str]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    for size in range(1, len(text) + 1):
        found = [each async for each in sentences(pieces(size))]
        assert "".join(found) == text
        assert any(each.strip() == "Two! [2][3]" for each in found)


def test_its_address_and_its_name_need_each_other() -> None:
    with pytest.raises(BadSettings, match="REALM_WEB_LLM_MODEL"):
        load_settings(web_llm_url="http://127.0.0.1:11434/v1")
