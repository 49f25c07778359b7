"""`realm search` and `realm ask`."""

from __future__ import annotations

from typing import Annotated

import typer

from realm.cli.format import answer_lines, no_answer_line, no_passage_line, origin, passage_lines
from realm.cli.json_output import to_json, to_plain
from realm.cli.options import DEFAULT_TIMEOUT, MOST, Address, AsJson, Timeout, connect, output
from realm.client import Reply
from realm.retrieval import Retrieval

Choice = Annotated[
    Retrieval | None,
    typer.Option("--retrieval", help="what chooses passages; else the gateway's setting"),
]
AtLeast = Annotated[int, typer.Option(help="wait for this corpus version", min=0, max=MOST)]


def register(app: typer.Typer) -> None:
    app.command()(search)
    app.command()(ask)


def search(
    question: Annotated[list[str], typer.Argument(help="what to look for")],
    limit: Annotated[int, typer.Option(help="how many passages", min=1, max=100)] = 5,
    retrieval: Choice = None,
    at_least: AtLeast = 0,
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
        )
    console = output()
    if as_json:
        console.out(to_json(found))
        return
    for place, passage in enumerate(found.passages, 1):
        for line in passage_lines(place, passage):
            console.print(line)
    if not found.passages:
        console.print(no_passage_line(found))
    console.print(f"[dim]{origin(found.index_version)}[/]")


def ask(
    questions: Annotated[list[str], typer.Argument(help="a question; more, each in quotes")],
    answers: Annotated[int, typer.Option(help="how many answers", min=1, max=10)] = 1,
    passages: Annotated[int, typer.Option(help="how many passages to read", min=1, max=20)] = 5,
    retrieval: Choice = None,
    at_least: AtLeast = 0,
    as_json: AsJson = False,
    address: Address = "",
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Answer questions, with their sources. Words without quotes are one question."""
    asked = as_questions(questions)
    way = retrieval or ""
    with connect(address, timeout) as client:
        if len(asked) == 1:
            answer = client.ask(
                asked[0],
                passages=passages,
                answers=answers,
                at_least_version=at_least,
                retrieval=way,
            )
            replies = [Reply(0, asked[0], answer)]
        else:
            replies = list(
                client.ask_many(
                    asked,
                    passages=passages,
                    answers=answers,
                    at_least_version=at_least,
                    retrieval=way,
                    timeout=timeout,
                )
            )
    for reply in sorted(replies, key=lambda reply: reply.number):
        _print_reply(reply, as_json, headed=len(asked) > 1)
    if any(reply.answer is None for reply in replies):
        raise typer.Exit(1)


def as_questions(words: list[str]) -> list[str]:
    """Several arguments are several questions only if one of them was quoted."""
    if any(" " in word.strip() for word in words):
        return words
    return [" ".join(words)]


def _print_reply(reply: Reply, as_json: bool, *, headed: bool) -> None:
    console = output()
    if as_json:
        found = {
            "question": reply.question,
            "error": reply.error,
            "code": reply.failure.code if reply.failure else "",
        }
        console.out(to_json({**found, **(to_plain(reply.answer) if reply.answer else {})}))
        return
    if headed:
        console.print(reply.question, style="italic", markup=False)
    if reply.answer is None:
        console.print(f"no answer: {reply.error}", markup=False)
        return
    for answer in reply.answer.answers:
        for line in answer_lines(answer):
            console.print(line)
    if not reply.answer.answers:
        console.print(no_answer_line(reply.answer))
    console.print(f"[dim]{origin(reply.answer.index_version)}[/]")
