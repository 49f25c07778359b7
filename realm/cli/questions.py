"""`realm search` and `realm ask`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape
from rich.text import Text

from realm.cli.index import origin
from realm.cli.options import (
    DEFAULT_TIMEOUT,
    MOST,
    Address,
    AsJson,
    Timeout,
    Where,
    connect,
    finite_if_any,
)
from realm.cli.output import show, to_plain
from realm.client import Reply
from realm.retrieval import Retrieval
from realm.v1 import answer_pb2, retrieval_pb2, types_pb2

EXCERPT = 240
NOTHING_RELEVANT = "Nothing relevant: no passage has so high a score."

Choice = Annotated[
    Retrieval | None,
    typer.Option("--retrieval", help="how passages are chosen", show_default="the gateway's"),
]
AtLeast = Annotated[int, typer.Option(help="wait for this corpus version", min=0, max=MOST)]
Generation = Annotated[
    int, typer.Option(help="ask this one, live or retained; 0: what is live", min=0, max=MOST)
]


def register(app: typer.Typer) -> None:
    app.command()(search)
    app.command()(ask)


def search(
    question: Annotated[list[str], typer.Argument(help="what to look for")],
    limit: Annotated[int, typer.Option(help="how many passages", min=1, max=100)] = 5,
    retrieval: Choice = None,
    rerank: Annotated[
        int, typer.Option(help="read so many and rank by what is found in them", min=0, max=20)
    ] = 0,
    least_score: Annotated[
        float | None,
        typer.Option(
            help="leave out passages of a smaller score", min=-1e6, callback=finite_if_any
        ),
    ] = None,
    at_least: AtLeast = 0,
    generation: Generation = 0,
    where: Where = None,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Find the passages that most likely help to answer a question."""
    with connect(address, timeout) as client:
        found = client.search(
            " ".join(question),
            limit=limit,
            at_least_version=at_least,
            retrieval=retrieval or "",
            rerank=rerank,
            least_score=least_score,
            generation=generation,
            where=where,
        )
    lines = [
        line
        for place, passage in enumerate(found.passages, 1)
        for line in _passage_lines(place, passage)
    ]
    nothing = NOTHING_RELEVANT if least_score is not None else _no_passage(found, where)
    show(found, as_json, _lines(lines or [nothing], found.index_version))


def ask(
    questions: Annotated[list[str], typer.Argument(help="a question; more, each in quotes")],
    answers: Annotated[int, typer.Option(help="how many answers", min=1, max=10)] = 1,
    passages: Annotated[int, typer.Option(help="how many passages to read", min=1, max=20)] = 5,
    retrieval: Choice = None,
    at_least: AtLeast = 0,
    generation: Generation = 0,
    where: Where = None,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Answer questions, with their sources. Words without quotes are one question."""
    asked = as_questions(questions)
    options: dict[str, Any] = {
        "passages": passages,
        "answers": answers,
        "at_least_version": at_least,
        "retrieval": retrieval or "",
        "generation": generation,
        "where": where,
    }
    with connect(address, timeout) as client:
        if len(asked) == 1:
            replies = [Reply(0, asked[0], client.ask(asked[0], **options))]
        else:
            replies = list(client.ask_many(asked, timeout=timeout, **options))
    for reply in sorted(replies, key=lambda reply: reply.number):
        _show_reply(reply, as_json, headed=len(asked) > 1)
    if any(reply.answer is None for reply in replies):
        raise typer.Exit(1)


def as_questions(words: list[str]) -> list[str]:
    """Several arguments are several questions only if one of them was quoted."""
    if any(" " in word.strip() for word in words):
        return words
    return [" ".join(words)]


def _show_reply(reply: Reply, as_json: bool, *, headed: bool) -> None:
    plain = {
        "question": reply.question,
        "error": reply.error,
        "code": reply.failure.code if reply.failure else "",
        **(to_plain(reply.answer) if reply.answer else {}),
    }
    words = [Text(reply.question, style="italic")] if headed else []
    if reply.answer is None:
        show(plain, as_json, Group(*words, Text(f"no answer: {reply.error}")))
        return
    lines = [line for answer in reply.answer.answers for line in _answer_lines(answer)]
    body = _lines(lines or [no_answer(reply.answer)], reply.answer.index_version)
    show(plain, as_json, Group(*words, body))


def _lines(lines: list[str], version: types_pb2.IndexVersion) -> Group:
    """Lines of markup, and the origin of them all."""
    lines = [*lines, f"[dim]{origin(version)}[/]"]
    return Group(*(Text.from_markup(line, emoji=False) for line in lines))


def no_answer(response: answer_pb2.AnswerQuestionResponse) -> str:
    if not response.no_answer_probability:
        return "No passage holds a readable answer."
    return f"The passages do not answer this: p {response.no_answer_probability:.3f}"


def _no_passage(response: retrieval_pb2.RetrievePassagesResponse, where: list[str] | None) -> str:
    """By vectors some passage always matches; by words, perhaps none of many."""
    if where:
        return "No passage matched: perhaps no document has such metadata."
    if response.retrieval == types_pb2.RETRIEVAL_BM25:
        return "No passage matched: none holds any of these words."
    return "The index holds no passage."


def _passage_lines(place: int, found: retrieval_pb2.RetrievedPassage) -> list[str]:
    passage = found.passage
    head = (
        f"[bold]{place}.[/] p(z|x) {found.probability:.3f}  f {found.score:.2f}  {_title(passage)}"
    )
    return [head, f"   {escape(_cut(' '.join(passage.text.split()), EXCERPT))}"]


def _answer_lines(answer: answer_pb2.Answer) -> list[str]:
    lines = [f"[bold]{escape(answer.text)}[/]  p(y|x) {answer.probability:.3f}"]
    for source in answer.sources:
        passage = source.passage
        begin, end = source.start - passage.start, source.end - passage.start
        text = passage.text.replace("\n", " ")
        lines.append(
            f"   p(z|x) {source.retrieval_probability:.3f}"
            f"  p(y|z,x) {source.reading_probability:.3f}"
            f"  {_title(passage)} at {source.start}–{source.end}"
        )
        before = text[:begin]
        if begin > EXCERPT // 2:
            before = "… " + before[-(EXCERPT // 2) :].lstrip()
        lines.append(
            f"   {escape(before)}[bold underline]{escape(text[begin:end])}[/]"
            f"{escape(_cut(text[end:], EXCERPT // 2))}"
        )
    return lines


def _title(passage: types_pb2.Passage) -> str:
    name = f"{escape(passage.title)} " if passage.title else ""
    return f"{name}[dim]({escape(passage.document_id)}, version {passage.document_version})[/]"


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else line[:most].rstrip() + " …"
