"""The gate over real builds: what it compares with, what an operator may overrule."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from realm.records.recorded_questions import RecordedQuestion, RecordedQuestions, probe_files
from realm.records.states import State
from realm.records.store import Store
from realm.retrieval import Retrieval
from realm.search.vector_index import Hit, Query
from services.indexer.gate.shadow import LiveSearch
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(150)]


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    """A question for each document: words of its second sentence, the last of which answer it."""
    file = tmp_path / "probes.jsonl"
    asked = [(each.text.split(". ")[1], each.id) for each in DOCUMENTS]
    rows = [
        {"question": words, "document_id": document_id, "answers": [words.split()[-1]]}
        for words, document_id in asked
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def bench(make_bench: Callable[..., Bench], probes: Path) -> Bench:
    """Generation 1 is live; the gate asks 150 questions from a file."""
    made = make_bench(gate_probes=500, gate_probes_file=str(probes), gate_tolerance=0.1)
    made.start()
    made.write(DOCUMENTS)
    made.publish(step=0)
    made.until_live(1)
    return made


def refused(bench: Bench, number: int) -> None:
    generations = bench.indexer.generations
    bench.until(lambda: number in generations.numbers(), f"build {number} begins")
    bench.until(lambda: generations.state(number) is State.REJECTED, f"{number} is refused")


def report(bench: Bench, number: int) -> dict[str, float]:
    """A generation is live by its commit; its events are written a moment later."""

    def found() -> list[dict[str, float]]:
        events = bench.indexer.generations.events(number)
        return [event.report for event in events if "probes" in event.report]

    bench.until(lambda: bool(found()), f"generation {number} has its report")
    return found()[0]


def test_a_little_worse_each_time_is_refused_in_the_end(bench: Bench) -> None:
    bench.publish(step=40, quality="bad 7")
    bench.until_live(2)
    bench.publish(step=80, quality="bad 14")
    refused(bench, 3)
    found = report(bench, 3)
    assert found["probe_recall_fall"] < 0.1, "against live alone it would have passed"
    assert found["best_generation"] == 1
    assert found["best_probe_recall_fall"] > 0.1
    assert "(best)" in bench.indexer.generations.events(3)[-1].why


def test_relevance_is_refused_if_either_part_is_spoiled(bench: Bench) -> None:
    """Words count little here, so that they do not make up for vectors."""
    bench.publish(step=40, quality="good by 20 0.05")
    bench.until_live(2)
    assert report(bench, 2)["probe_recall@5"] > 0.95
    for number, quality in enumerate(("bad by 20 0.05", "good by 20 -5", "good by -20 0.05"), 3):
        bench.publish(step=40 * number, quality=quality)
        refused(bench, number)
        assert report(bench, number)["probe_recall_fall"] > 0.5
        assert bench.live() == 2


def test_a_reader_that_answers_nothing_is_refused_though_all_is_found(bench: Bench) -> None:
    bench.publish(step=40, quality="misreads")
    refused(bench, 2)
    found = report(bench, 2)
    assert found["probe_recall_fall"] == 0.0
    assert (found["live_reader_f1"], found["reader_f1"]) == (1.0, 0.0)
    assert "the reader's F1 fell" in bench.indexer.generations.events(2)[-1].why
    bench.publish(step=80)
    bench.until_live(3)


def test_a_slow_collection_is_refused_and_an_equal_one_is_not(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slowed down on its way to Qdrant: the gate sees one collection's searches take longer."""
    search = bench.indexer.index.search
    assert not bench.indexer.index.is_optimising("passages-00000002"), "it is not there"

    def slowed(collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        if collection == "passages-00000003":
            time.sleep(0.05)
        return search(collection, queries, limit)

    optimising = True
    bench.indexer.index.search = slowed  # type: ignore[method-assign]
    bench.indexer.index.is_optimising = lambda collection: optimising  # type: ignore[method-assign]
    bench.publish(step=40)

    def is_whole() -> bool:
        build = bench.indexer.memory.build
        return build is not None and build.loaded_at is not None

    bench.until(is_whole, "the candidate waits")
    looked_until = time.monotonic() + 1.0
    bench.until(lambda: time.monotonic() > looked_until, "some looks")
    assert bench.indexer.generations.state(2) is State.BUILDING
    assert capsys.readouterr().out.count("waits_for_qdrant") == 1
    optimising = False
    bench.until_live(2)
    assert report(bench, 2)["search_pairs"] > 50
    assert report(bench, 2)["search_seconds"] > 0
    bench.publish(step=80)
    refused(bench, 3)
    assert "a search takes" in bench.indexer.generations.events(3)[-1].why
    assert bench.live() == 2


def test_users_questions_probe_those_who_did_not_answer_them(
    make_bench: Callable[..., Bench], store: Store
) -> None:
    asked = [document(number, shared=7) for number in range(150)]
    made = make_bench(gate_probes=500, record_questions=True)
    made.start()
    made.write(asked)
    made.publish(step=0)
    made.until_live(1)
    now = time.time()
    RecordedQuestions(store).write(
        [
            RecordedQuestion(each.text.split(". ")[2], each.id, snapshot=1, asked_at=now)
            for each in asked[:100]
        ]
    )
    made.publish(step=40)
    made.until_live(2)
    assert "probes_recorded" not in report(made, 2), "live's snapshot answered them"
    made.publish(step=80)
    made.until_live(3)
    found = report(made, 3)
    assert found["probes_recorded"] == 100
    assert found["probes"] > 100, "and held-out documents"
    assert found["live_probe_recall@5"] > 0.9
    bad = made.publish(step=120, quality="bad")
    refused(made, 4)
    assert report(made, 4)["probes_recorded"] == 100
    assert made.indexer.generations.get(4).snapshot == bad.number

    words = asked[0].text.split(". ")[2]
    assert RecordedQuestions(store).forget([words], made.indexer.generations) == []
    assert not RecordedQuestions(store).all(), "they were in one file"
    assert not probe_files(store, 3)


def test_users_searches_are_asked_of_candidate_and_live_and_refuse_nobody(
    make_bench: Callable[..., Bench], probes: Path
) -> None:
    made = make_bench(gate_probes=500, gate_probes_file=str(probes), gate_shadow=40)
    made.start()
    made.write(DOCUMENTS)
    made.publish(step=0)
    made.until_live(1)
    asked = [each.text.split(". ")[1] for each in DOCUMENTS[:60]]
    made.indexer.searches.record(LiveSearch(words, Retrieval.DENSE) for words in asked)
    made.publish(step=40)
    made.until_live(2)
    found = report(made, 2)
    assert found["shadow_searches"] == 40, "the newest"
    assert found["shadow_same_first"] > 0.9
    assert 0.1 < found["shadow_overlap@10"] <= 1.0
    assert found["shadow_score"] > 0
    assert found["shadow_search_seconds"] > 0
    assert found["probes"] == report(made, 1)["probes"], "they are no probes"
    made.publish(step=80, quality="bad")
    refused(made, 3)
    assert report(made, 3)["shadow_same_first"] < found["shadow_same_first"]
    assert "shadow" not in made.indexer.generations.events(3)[-1].why


def test_a_refused_one_is_forced_and_who_did_it_is_recorded(bench: Bench) -> None:
    assert report(bench, 1)["probes"] == len(DOCUMENTS)
    bad = bench.publish(step=40, quality="bad")
    refused(bench, 2)
    bench.indexer.controls.request_refresh("it must be", bad.number, "root@here: it must be")
    bench.until_live(3)
    made = bench.indexer.generations.get(3)
    assert (made.snapshot, made.forced) == (bad.number, "root@here: it must be")
    assert made.why == "forced by root@here: it must be"
    assert report(bench, 3)["forced"] >= 1
    assert report(bench, 3)["probe_recall_fall"] > 0.5

    bench.publish(step=80)
    bench.until_live(4)


def test_writes_go_on_and_nothing_is_lost_between_encoders_of_another_kind(
    bench: Bench, tmp_path: Path
) -> None:
    """Another tokenizer, other lengths, another width; then back, with what was written since."""
    tokenizer = tmp_path / "tokenizer.json"
    other_tokenizer(tokenizer)
    bench.publish(step=0, size=96, tokenizer=tokenizer)
    written = [document(1000)]
    bench.write(written)
    while bench.live() == 1:
        assert len(written) < 300, "the candidate is starved"
        written.append(document(1000 + len(written)))
        bench.write([written[-1]])
    first, second = (bench.indexer.generations.get(number) for number in (1, 2))
    assert first.fingerprint != second.fingerprint
    assert (first.vector_size, second.vector_size) == (64, 96)
    bench.delete("document-3")
    version = bench.write([document(5, edition=1), document(2000)])
    applied = bench.indexer.generations.applied
    bench.until(lambda: min(applied(1), applied(2)) >= version, "both follow the writes")

    assert bench.indexer.committer.roll_back("as before", timeout=30) == 1
    for number in (1, 2):
        for each in (*written, document(2000), document(5, edition=1)):
            assert bench.documents_found(each.text, number)[0] == each.id
        assert "document-3" not in bench.documents_found(DOCUMENTS[3].text, number)
    late = bench.write([document(2001)])
    bench.until(lambda: min(applied(1), applied(2)) >= late, "both follow after the rollback")
    assert bench.documents_found(document(2001).text, 2)[0] == "document-2001"


def other_tokenizer(file: Path) -> None:
    """A WordPiece of the same words in another order, so that no id means what it meant."""
    from tests.integration.indexing import tokenizer_file

    described = json.loads(tokenizer_file().read_text())
    words = sorted(described["model"]["vocab"], key=described["model"]["vocab"].__getitem__)
    special = [word for word in words if word.startswith("[")]
    others = [word for word in reversed(words) if not word.startswith("[")]
    described["model"]["vocab"] = {word: at for at, word in enumerate([*special, *others])}
    for added in described["added_tokens"]:
        added["id"] = described["model"]["vocab"][added["content"]]
    described["post_processor"] = None
    file.write_text(json.dumps(described))
