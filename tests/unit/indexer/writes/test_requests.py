"""Request ids: what the leader remembers, and that every write is what a model says."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest import mock

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realm.corpus import table as corpus_table
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import RequestIdReused
from realm.records.store import Store
from services.indexer.writes import writer
from services.indexer.writes.requests import LONGEST_PAUSE, SECONDS, RequestHistory, digest_of
from services.indexer.writes.writer import Writer, check_changes
from tests.unit.indexer.examples import Clock

WAIT = 30
NOTE = Document("note", "A title", "A text.", {"kind": "note", "year": "2020"})


def append(table: CorpusTable, *requests: str) -> int:
    given = [Change(f"of-{each}", NOTE, each, digest_of([NOTE], [each])) for each in requests]
    return table.append(given)


def known(requests: RequestHistory, *names: str) -> str:
    return "".join(each for each in names if requests.knows(each))


def test_a_digest_tells_method_content_and_order_but_not_the_order_of_metadata() -> None:
    other = Document("note", "A title", "A text", {"kind": "note", "year": "2020"})
    turned = Document("note", "A title", "A text.", {"year": "2020", "kind": "note"})
    digests = {
        digest_of([NOTE], []),
        digest_of([other], []),
        digest_of([], ["note"]),
        digest_of([NOTE, other], []),
        digest_of([other, NOTE], []),
    }
    assert len(digests) == 5
    assert digest_of([turned], []) == digest_of([NOTE], [])


def test_memory_is_bounded_and_the_newest_stay() -> None:
    requests = RequestHistory(most=20)
    for number in range(1_000):
        requests.learn(str(number), digest_of([], [str(number)]), number)
        assert len(requests) <= 20
        assert all(requests.knows(str(each)) for each in range(max(0, number - 9), number + 1))
    assert not requests.knows("0")


def test_an_id_is_remembered_for_a_day_by_the_own_clock_and_forgotten_after_two() -> None:
    clock = Clock()
    requests = RequestHistory(clock=clock)
    for hour in range(200):
        clock.now = hour * 3600.0
        requests.forget_old()
        requests.learn(f"r{hour}", "", hour)
        for age in range(25):
            assert requests.knows(f"r{max(0, hour - age)}")
        assert not requests.knows(f"r{hour - 49}")
    clock.now += 2 * SECONDS
    requests.forget_old()
    assert len(requests) == 0


def test_a_standby_of_many_days_remembers_what_it_reads(store: Store) -> None:
    clock = Clock()
    requests = RequestHistory(clock=clock)
    append(CorpusTable(store), "a")
    clock.now = 10 * SECONDS
    requests.read(CorpusTable(store))
    requests.forget_old()
    assert known(requests, "a")


def test_a_table_gives_no_more_requests_than_asked_for_and_the_newest(store: Store) -> None:
    table = CorpusTable(store)
    for number in range(12):
        append(table, f"r{number}", f"s{number}")
    table.compact()
    requests = RequestHistory(most=10)
    requests.read(table)
    assert len(requests) == 10
    assert known(requests, "r11", "s11", "r8") == "r11s11r8"
    assert not requests.knows("r1")
    version = append(table, "later")
    requests.read(table)
    assert requests.version_of("later", digest_of([NOTE], ["later"])) == version


@pytest.mark.parametrize("skew", [-10 * 365 * SECONDS, -9 * 3600.0, 9 * 3600.0, 3650 * SECONDS])
def test_no_other_leaders_clock_makes_an_id_old_too_early(
    store: Store, monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    """The leader before wrote with another clock; what it wrote hours ago is known."""
    clock, table = Clock(1_700_000_000.0), CorpusTable(store)
    monkeypatch.setattr(time, "time", clock)
    append(table, "first")
    clock.now += 3 * 3600.0 + skew
    append(table, "second")
    clock.now += 3 * 3600.0 - skew
    append(table, "third")
    requests = RequestHistory()
    requests.read(CorpusTable(store))
    assert known(requests, "first", "second", "third") == "firstsecondthird"
    for _ in range(5):
        clock.now += LONGEST_PAUSE
        append(table, f"at {clock.now}")
    aged = RequestHistory()
    aged.read(CorpusTable(store))
    assert not aged.knows("first")


def test_a_table_of_before_digests_opens_and_takes_them_from_then_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = pa.schema([each for each in corpus_table.SCHEMA if each.name != "request_digest"])
    with monkeypatch.context() as before:
        before.setattr(corpus_table, "SCHEMA", old)
        append(CorpusTable(store), "old")
    reader, table, requests = CorpusTable(store), CorpusTable(store), RequestHistory()
    requests.read(table)
    assert requests.version_of("old", digest_of([], ["anything"])) == 1
    assert append(table, "new") == 2
    assert reader.refresh() == 2
    assert {each.document_id for each in reader.states(2)} == {"of-old", "of-new"}
    after = RequestHistory()
    after.read(CorpusTable(store))
    assert known(after, "old", "new") == "oldnew"
    with pytest.raises(RequestIdReused):
        after.version_of("new", digest_of([], ["anything"]))
    assert store.root
    schema = DeltaTable(str(store.root / "corpus")).schema().to_arrow()
    assert "request_digest" in schema.names


IDS = st.sampled_from(["", "one", "two", "three"])
TEXTS = st.sampled_from(["first", "second"])
NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True)


@dataclass
class Model:
    """What the contract says: an id's first payload counts, another one is refused."""

    documents: dict[str, str] = field(default_factory=dict)
    requests: dict[str, tuple[object, int]] = field(default_factory=dict)


class Writes(RuleBasedStateMachine):
    """Any writes, under ids of few, over changes of leaders and erasure."""

    @initialize()
    def begin(self) -> None:
        self.idle = mock.patch.object(writer, "IDLE_SECONDS", 0.02)
        self.idle.start()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(self.folder.name)
        self.model = Model()
        self.lead()

    def lead(self) -> None:
        self.writer = Writer(lambda: CorpusTable(self.store), 0.0, lambda version: None)
        self.writer.start()

    @rule()
    def another_leads(self) -> None:
        self.end()
        self.lead()

    @rule()
    def erase(self) -> None:
        def purge(table: CorpusTable) -> None:
            table.purge(table.version, 0.0, 1e12)

        table = CorpusTable(self.store)
        self.on_table(purge)
        assert CorpusTable(self.store).version >= table.version

    def on_table(self, chore: Callable[[CorpusTable], None]) -> None:
        self.writer.run_maintenance(chore)
        # Chores are done after a commit: this one's id is new.
        self.send("", [Document("z", "", "z")], [])
        self.send("", [], ["z"])

    @rule(request_id=IDS, names=NAMES, text=TEXTS)
    def upsert(self, request_id: str, names: list[str], text: str) -> None:
        self.send(request_id, [Document(name, "", text) for name in names], [])

    @rule(request_id=IDS, names=NAMES)
    def delete(self, request_id: str, names: list[str]) -> None:
        self.send(request_id, [], names)

    def send(self, request_id: str, documents: list[Document], deletions: list[str]) -> None:
        payload = [(each.id, each.text) for each in documents] + [(each,) for each in deletions]
        name, changes = check_changes(request_id, documents, deletions, 100)
        promise = self.writer.submit(name, changes)
        before = self.model.requests.get(name)
        if before is not None and before[0] != payload:
            with pytest.raises(RequestIdReused):
                promise.result(WAIT)
            return
        version = promise.result(WAIT)
        if before is not None:
            assert version == before[1]
            return
        self.model.requests[name] = payload, version
        for each in documents:
            self.model.documents[each.id] = each.text
        for each_id in deletions:
            self.model.documents.pop(each_id, None)

    @invariant()
    def the_table_is_as_the_model(self) -> None:
        table = CorpusTable(self.store)
        states = table.states(table.version)
        found = {each.document_id: each.document.text for each in states if each.document}
        assert found == self.model.documents

    def end(self) -> None:
        self.writer.stop()
        self.writer.join(WAIT)

    def teardown(self) -> None:
        self.end()
        self.idle.stop()
        self.folder.cleanup()


TestWrites = Writes.TestCase
TestWrites.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)
