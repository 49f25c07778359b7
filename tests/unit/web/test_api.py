"""HTTP/JSON over the operations of the API."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.routing import Route

from services.web import bodies
from tests.unit.gateway.site import PATIENCE
from tests.unit.web.place import Place

QUESTION = {"question": "Where is the Eiffel Tower?", "limit": 2}


async def test_a_search_has_the_fields_of_the_protos(place: Place) -> None:
    answer = await place.http.post("/v1/search", json=QUESTION)
    assert answer.status_code == 200
    found = answer.json()
    assert len(found["passages"]) == 2
    first = found["passages"][0]
    assert first["passage"]["document_id"].startswith("g1-")
    assert first["passage"]["document_version"] == "3"
    assert 0 < first["probability"] <= 1
    assert found["index_version"]["generation"] == "1"
    assert found["retrieval"] == "RETRIEVAL_HYBRID"
    assert found["cached"] is False


async def test_an_answer_says_in_headers_what_gave_it(place: Place) -> None:
    answer = await place.http.post("/v1/ask", json={"question": "Who built the tower?"})
    assert answer.status_code == 200
    assert answer.json()["answers"][0]["sources"]
    assert answer.headers["x-realm-generation"] == "1"
    assert answer.headers["x-realm-snapshot"] == "1"
    assert answer.headers["x-realm-corpus-version"] == "1"


async def test_a_generation_is_asked_by_its_number(place: Place) -> None:
    for path in ("/v1/search", "/v1/ask"):
        asked = {"question": QUESTION["question"], "generation": "1"}
        answer = await place.http.post(path, json=asked)
        assert (answer.status_code, answer.headers["x-realm-generation"]) == (200, "1")
        answer = await place.http.post(path, json={**asked, "generation": 7})
        assert answer.status_code == 404
        assert "ask 1" in answer.json()["message"]


async def test_a_document_is_written_read_listed_and_deleted(place: Place) -> None:
    path = "/v1/documents/notes/kea%3F%23.txt"
    text = {"text": "Kea live in the Alps.", "metadata": {"lang": "en"}}
    written = await place.http.put(path, json=text)
    assert (written.status_code, written.json()) == (200, {"corpus_version": "1"})
    assert written.headers["x-realm-corpus-version"] == "1"
    read = (await place.http.get(path)).json()
    assert read["document"]["id"] == "notes/kea?#.txt"
    assert read["document"]["metadata"] == {"lang": "en"}
    assert read["document_version"] == "1"

    async def listed(**query: Any) -> list[str]:
        page = (await place.http.get("/v1/documents", params=query)).json()
        return [each["document"]["id"] for each in page["documents"]]

    assert await listed() == ["notes/kea?#.txt"]
    assert await listed(where=["lang=en"], page_size=10, with_text="true") == ["notes/kea?#.txt"]
    assert await listed(where=["lang=en", "!lang"]) == []
    deleted = await place.http.delete(path)
    assert deleted.json() == {"corpus_version": "2", "documents_deleted": "0", "more": False}
    assert (await place.http.get(path)).status_code == 404


async def test_many_documents_are_written_at_once(place: Place) -> None:
    documents = [{"id": f"d{number}", "text": "text"} for number in range(3)]
    written = await place.http.post("/v1/documents", json={"documents": documents})
    assert written.status_code == 200
    assert sorted(place.indexer.documents) == ["d0", "d1", "d2"]


async def test_what_is_large_goes_through_whole(place: Place) -> None:
    documents = [{"id": f"d{number}", "text": "word " * 40_000} for number in range(20)]
    written = await place.http.post("/v1/documents", json={"documents": documents})
    assert written.status_code == 200
    listed = await place.http.get("/v1/documents", params={"with_text": "true"})
    assert [each["document"]["text"] for each in listed.json()["documents"]] == [
        each["text"] for each in documents
    ]


async def test_a_write_sent_again_under_its_key_is_one_write(place: Place) -> None:
    headers = {"idempotency-key": "first"}
    answers = [
        await place.http.put("/v1/documents/a", json={"text": "text"}, headers=headers)
        for _ in range(2)
    ]
    assert [each.json() for each in answers] == [{"corpus_version": "1"}] * 2
    other = await place.http.put("/v1/documents/b", json={"text": "text"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, 6)


async def test_the_index_and_its_generations_are_told(place: Place) -> None:
    status = (await place.http.get("/v1/index")).json()["status"]
    assert status["gateways"][0] == {"gateway_id": "one", "generation": "2", "ready": True}
    listed = (await place.http.get("/v1/generations", params={"limit": 1})).json()
    assert [each["gate"] for each in listed["generations"]] == [{"recall": 0.99}]
    assert (await place.http.get("/v1/generations/2")).json()["generation"]["generation"] == "2"
    assert (await place.http.get("/v1/generations/3")).status_code == 404


async def test_a_call_goes_on_with_its_id_and_its_deadline(place: Place) -> None:
    headers = {"x-request-id": "my call", "x-server-timeout": "7.5"}
    answer = await place.http.get("/v1/documents", headers=headers)
    assert answer.headers["x-request-id"] == "my call"
    assert place.indexer.metadata["x-request-id"] == "my call"
    assert place.indexer.seconds is not None
    assert 0 < place.indexer.seconds < 8  # gRPC rounds deadlines up


async def test_a_read_waits_for_the_version_that_it_needs(place: Place) -> None:
    headers = {"x-realm-at-least-version": "1", "x-server-timeout": "20"}
    assert (await place.http.post("/v1/search", json=QUESTION, headers=headers)).status_code == 200
    headers = {"x-realm-at-least-version": "9", "x-server-timeout": "20"}
    late = await place.http.post("/v1/search", json=QUESTION, headers=headers)
    assert late.status_code in (400, 503)
    assert late.json()["details"]


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/v1/search", {"json": {"question": ""}}, 400, "question"),
    ("POST", "/v1/search", {"json": {"question": "a", "limit": 5000}}, 400, "limit"),
    ("POST", "/v1/search", {"json": {"questions": "a"}}, 400, ""),
    ("POST", "/v1/search", {"json": [1]}, 400, ""),
    ("POST", "/v1/search", {"content": "{}"}, 415, ""),
    ("POST", "/v1/search?limit=x", {"json": {"question": "a"}}, 400, "limit"),
    ("GET", "/v1/documents?page_size=0", {}, 400, "page_size"),
    ("GET", "/v1/documents?page=2", {}, 400, "page"),
    ("GET", "/v1/documents?with_text=yes", {}, 400, ""),
    ("GET", "/v1/documents?where=%3D", {}, 400, "filter"),
    ("GET", "/v1/documents/", {}, 400, "document_id"),
    ("PUT", "/v1/documents/a", {"json": {"id": "b", "text": "t"}}, 400, "id"),
    ("GET", "/v1/generations/x", {}, 400, "generation"),
    ("GET", f"/v1/generations/{2**64}", {}, 400, "generation"),
    ("GET", "/v1/index", {"headers": {"x-server-timeout": "nan"}}, 400, "x-server-timeout"),
    ("GET", "/v1/nothing", {}, 404, ""),
    ("PATCH", "/v1/index", {}, 405, ""),
    ("GET", "/v1/search", {}, 405, ""),
]


async def test_what_cannot_be_done_is_refused_with_its_field(place: Place) -> None:
    for method, path, given, status, field in REFUSED:
        answer = await place.http.request(method, path, **given)
        assert answer.status_code == status, path
        said = answer.json()
        assert said["message"]
        (info,) = (each for each in said["details"] if each["@type"].endswith("ErrorInfo"))
        assert info["domain"] == "realm"
        assert info.get("metadata", {}).get("field", "") == field, path


async def test_what_may_be_tried_again_says_when(place: Place) -> None:
    await place.site.gateway.stop()
    answer = await place.http.post("/v1/search", json=QUESTION)
    assert (answer.status_code, answer.json()["code"]) == (503, 14)
    assert answer.headers["retry-after"] == "1"
    assert any(each["@type"].endswith("RetryInfo") for each in answer.json()["details"])
    assert "127.0.0.1" not in answer.text


async def test_a_body_is_bounded(place: Place) -> None:
    large = b'{"question": "' + b"a" * (2 << 20) + b'"}'
    headers = {"content-type": "application/json"}

    async def pieces() -> Any:
        for begin in range(0, len(large), 65536):
            yield large[begin : begin + 65536]

    for content in (large, pieces()):
        try:
            answer = await place.http.post("/v1/search", content=content, headers=headers)
        except httpx2.WriteError:
            continue  # it was refused before all of it was sent
        assert answer.status_code == 413


async def test_a_body_that_does_not_come_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "RECEIVE_SECONDS", 0.05)

    reader, writer = await asyncio.open_connection("127.0.0.1", place.service.port)
    head = "POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: 9\r\n\r\n{{".encode())
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await writer.wait_closed()


async def test_nothing_is_offered_that_the_document_does_not_describe(place: Place) -> None:
    described = (await place.http.get("/openapi.json")).json()
    offered = {
        (method.lower(), route.path.replace(":path", ""))
        for route in place.service.app.routes
        if isinstance(route, Route) and route.path.startswith("/v1/")
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert offered == {(m, path) for path, each in described["paths"].items() for m in each}


async def test_requests_are_counted_by_route_and_status(place: Place) -> None:
    await place.http.get("/v1/documents/a")
    await place.http.get("/v1/documents/b")
    route = "/v1/documents/{document_id:path}"
    labels = {"method": "GET", "route": route, "status": "404"}
    assert place.value("realm_web_requests_total", **labels) == 2
