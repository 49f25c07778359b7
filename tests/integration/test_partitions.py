"""Indexer, embedder and gateway, cut off from what they need for a while."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.apparatus import tools
from bench.apparatus.apparatus import await_start
from bench.apparatus.network import Cut, cut_link
from bench.apparatus.s3 import S3Server, variables
from bench.apparatus.toxiproxy import Toxiproxy
from realm.corpus.table import CorpusTable
from realm.errors import BadSettings, DependencyUnavailable
from realm.records.generations import Generations
from realm.records.store import Store
from tests.integration.indexer_process import DEADLINE, IndexerProcess
from tests.integration.indexing import Bench, bench_settings, document
from tests.integration.test_gateway import PATIENCE, QdrantWorld, gateway
from tests.integration.test_leaders import serves
from tests.ports import free_port
from tests.unit.gateway.test_flips import REQUEST, check_binding, expected_scores
from tests.waiting import until

HOST = "127.0.0.1"
#: Longer than a silent peer may take to answer.
CUT_SECONDS = 6.0
CUTS = (Cut.REFUSED, Cut.HELD, Cut.REQUESTS_HELD, Cut.ANSWERS_HELD)
DOCUMENTS = [document(number) for number in range(20)]


class Links:
    """Proxies by name."""

    def __init__(self, api: int) -> None:
        self._proxies = Toxiproxy(f"{HOST}:{api}")

    def to(self, name: str, url: str) -> str:
        """A URL that leads to another one through a proxy of that name."""
        here, there = f"{HOST}:{free_port()}", urlsplit(url).netloc
        await_start(self._proxies.add)(name, here, there)
        return url.replace(there, here)

    @contextmanager
    def cut(self, name: str, how: Cut) -> Iterator[None]:
        cut_link(self._proxies, name, how)
        try:
            yield
        finally:
            self._proxies.heal(name)


@pytest.fixture
def links() -> Iterator[Links]:
    try:
        program = tools.toxiproxy()
    except BadSettings as missing:
        pytest.skip(missing.message)
    api = free_port()
    process = subprocess.Popen(
        [program, "-host", HOST, "-port", str(api)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Links(api)
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def bench(
    tmp_path: Path,
    links: Links,
    redis_url: str,
    qdrant_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Bench]:
    """Indexer and embedder reach Redis, Qdrant and a bucket through proxies."""
    server = S3Server()
    for name, value in variables(links.to("store", server.endpoint)).items():
        monkeypatch.setenv(name, value)
    copies = str(tmp_path / "copies")
    store = Store.open(server.url, copies)
    settings = bench_settings(
        store, links.to("redis", redis_url), links.to("qdrant", qdrant_url),
        store_cache=copies, request_again_seconds=2.0,
    )  # fmt: skip
    made = Bench(tmp_path, settings, store)
    try:
        yield made
    finally:
        made.close()
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("peer", ["redis", "qdrant", "store"])
def test_a_cut_ends_and_every_write_is_found_and_the_refresh_goes_live(
    bench: Bench, links: Links, peer: str, how: Cut
) -> None:
    bench.start()
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    bench.publish(step=40)
    bench.until(lambda: 2 in bench.indexer.generations.numbers(), "a build begins")
    with ThreadPoolExecutor() as pool:
        with links.cut(peer, how):
            writes = [pool.submit(written, bench, number) for number in range(500, 505)]
            wait(writes, timeout=CUT_SECONDS)
        versions = [each.result(timeout=120) for each in writes]
    bench.until_live(2)
    bench.until_applied(max(versions))
    for number in range(500, 505):
        assert bench.documents_found(document(number).text)[0] == f"document-{number}"
    assert bench.count(1) == bench.count(2)


def written(bench: Bench, number: int) -> int:
    """Sent again under one request id until it is taken."""
    while True:
        try:
            return bench.write([document(number)], f"request-{number}")
        except DependencyUnavailable:
            continue


@pytest.mark.slow
@pytest.mark.parametrize("how", CUTS)
def test_a_leader_cut_off_from_its_bucket_is_replaced_and_what_it_sent_late_harms_nothing(
    tmp_path: Path,
    links: Links,
    redis_url: str,
    qdrant_url: str,
    monkeypatch: pytest.MonkeyPatch,
    how: Cut,
) -> None:
    monkeypatch.setenv("REALM_LEASE_SECONDS", "2")
    with ExitStack() as ends:
        server = S3Server()
        ends.callback(server.stop)
        server.use(monkeypatch.setenv)
        store = Store.open(server.url)
        bench = Bench(tmp_path, bench_settings(store, redis_url, qdrant_url), store)
        ends.callback(bench.close)
        indexers = []
        for name in ("first", "second"):
            monkeypatch.setenv("AWS_ENDPOINT_URL", links.to(name, server.endpoint))
            indexers.append(IndexerProcess(bench))
            ends.callback(indexers[-1].close)
            until(lambda: serves(indexers[0]), "the first leads")
        server.use(monkeypatch.setenv)
        leader, standby = indexers
        bench.start_worker()
        leader.write(*range(20))
        bench.publish(step=0)
        leader.until("a generation is live", lambda status: status.live.generation == 1)
        with ThreadPoolExecutor() as pool, links.cut("first", how):
            doubtful = pool.submit(leader.write, 500)
            until(lambda: serves(standby), "the standby leads")
            standby.write(501)
            bench.publish(step=40)
            standby.until("the next is live", lambda status: status.live.generation == 2)
        assert leader.process.wait(timeout=DEADLINE) == 1
        version = standby.write(502)
        bench.until_applied(version)
        written = Counter(each.document_id for each in CorpusTable(store).writes(0, version))
        if doubtful.exception() is None:
            assert written["document-500"] == 1
        assert set(written.values()) == {1}
        assert {"document-501", "document-502"} <= written.keys()
        for number in (7, 501, 502):
            assert bench.documents_found(document(number).text)[0] == f"document-{number}"
        history = Generations(store).live_history()
        assert [each.sequence for each in history] == [*range(1, len(history) + 1)]
        assert [each.term for each in history] == sorted(each.term for each in history)


@pytest.mark.parametrize("how", CUTS)
async def test_a_question_outlasts_a_gateway_s_cut_from_qdrant(
    store: Store, tmp_path: Path, qdrant_url: str, links: Links, how: Cut
) -> None:
    world = QdrantWorld(store, tmp_path, qdrant_url)
    live = world.go_live(seed=1, step=10)
    scores = {live.number: expected_scores(world, live)}
    async with gateway(world, links.to("qdrant", qdrant_url)) as site:
        await site.serves(live)
        call = site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
        check_binding(await call, scores)
        with links.cut("qdrant", how):
            call = site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
            answered = asyncio.ensure_future(call.code())
            await asyncio.wait([answered], timeout=CUT_SECONDS / 2)
            assert not call.done()
        check_binding(await call, scores)
    world.index.close()
