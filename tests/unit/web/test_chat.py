"""The official client of OpenAI's API asks realm."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from realm.v1.answer_pb2 import Answer, AnswerQuestionResponse, Source
from realm.v1.types_pb2 import Passage
from services.web.chat import NO_ANSWER, completion
from tests.unit.web.place import Place

QUESTION = "Who built the tower?"
MESSAGES: Any = [
    {"role": "system", "content": "You answer."},
    {"role": "user", "content": "What is in Paris?"},
    {"role": "assistant", "content": "A tower."},
    {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
]


async def test_an_answer_cites_its_sources(place: Place, client: openai.AsyncOpenAI) -> None:
    asked = (await place.http.post("/v1/ask", json={"question": QUESTION})).json()["answers"][0]
    found = await client.chat.completions.create(model="realm", messages=MESSAGES)
    message = found.choices[0].message
    assert message.role == "assistant"
    assert message.content is not None
    assert message.content.startswith(f"{asked['text']} [1]")
    assert found.choices[0].finish_reason == "stop"
    assert found.system_fingerprint == "generation-1"
    cited = [each.url_citation for each in message.annotations or ()]
    documents = [each["passage"]["document_id"] for each in asked["sources"]]
    assert [each.url.rpartition("/")[2] for each in cited] == documents
    marks = [message.content[each.start_index : each.end_index] for each in cited]
    assert marks == [f"[{number}]" for number in range(1, len(cited) + 1)]
    for document in documents:
        assert f"({document}, version 3, " in message.content


async def test_a_streamed_answer_is_the_same(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="realm", messages=MESSAGES)
    stream = await client.chat.completions.create(model="realm", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content
    assert len(chunks) > 3
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


async def test_a_question_can_be_bounded(client: openai.AsyncOpenAI) -> None:
    found = await client.chat.completions.create(
        model="realm", messages=MESSAGES, extra_body={"where": ["number=2"]}
    )
    assert "(g1-2, " in (found.choices[0].message.content or "")
    assert "[2]" not in (found.choices[0].message.content or "")


async def test_there_is_one_model(client: openai.AsyncOpenAI) -> None:
    assert [each.id async for each in client.models.list()] == ["realm"]
    assert (await client.models.retrieve("realm")).object == "model"
    with pytest.raises(openai.NotFoundError, match="no such model"):
        await client.models.retrieve("gpt")


async def test_what_cannot_be_done_is_told_in_that_api_s_own_way(
    place: Place, client: openai.AsyncOpenAI
) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="no such model"):
        await create(model="gpt", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="no message of the user") as caught:
        await create(model="realm", messages=MESSAGES[:1])
    assert (caught.value.param, caught.value.type) == ("messages", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="n is not 1"):
        await create(model="realm", messages=MESSAGES, n=2)
    for where in ({"lang": "en"}, 5, [5], ["="]):
        with pytest.raises(openai.BadRequestError):
            await create(model="realm", messages=MESSAGES, extra_body={"where": where})
    await place.site.gateway.stop()
    with pytest.raises(openai.InternalServerError) as failed:
        await create(model="realm", messages=MESSAGES)
    assert (failed.value.status_code, failed.value.type) == (503, "server_error")


def test_no_answer_is_said_to_be_none() -> None:
    assert completion(AnswerQuestionResponse(), "").parts == [NO_ANSWER]


def test_a_source_is_quoted_around_what_was_read_in_it() -> None:
    text = f"{'before ' * 100}Gustave{' after' * 100}"
    passage = Passage(document_id="a b/c", document_version=4, title="Towers", text=text, start=50)
    source = Source(passage=passage, start=50 + 700, end=50 + 707)
    answer = Answer(text="Gustave", sources=[source, source])
    found = completion(AnswerQuestionResponse(answers=[answer]), "http://desk/v1/documents/")
    content = "".join(found.parts)
    first, second = content.splitlines()[2:]
    assert content.splitlines()[:2] == ["Gustave [1] [2]", ""]
    assert first.startswith("[1] Towers (a b/c, version 4, 750–757): … ")
    assert "before **Gustave** after" in first
    assert first.endswith(" …")
    assert second == first.replace("[1]", "[2]", 1)
    assert found.citations[0]["url_citation"]["url"] == "http://desk/v1/documents/a%20b%2Fc"


def test_a_stored_answer_is_quoted_with_its_question() -> None:
    passage = Passage(document_id="faq", document_version=1, text="Who built\nit?")
    answer = Answer(text="Gustave", stored=True, sources=[Source(passage=passage, end=5)])
    found = completion(AnswerQuestionResponse(answers=[answer]), "")
    assert "".join(found.parts) == "Gustave [1]\n\n[1] (faq, version 1): Who built it?"
