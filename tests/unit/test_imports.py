"""What a process does not import: each library costs every start time and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    *("transformers", "scipy", "sympy", "torch._dynamo", "deltalake", "faiss", "plotly"),
    *("celery", "kombu"),
}
SERVICE = {
    *("torch", "numpy", "pyarrow", "tokenizers", "transformers", "qdrant_client", "redis"),
    *("structlog", "obstore", "deltalake", "celery", "prometheus_client"),
}
#: What every service has for its logs and metrics.
OF_ALL_SERVICES = {"structlog", "prometheus_client"}
#: Only who reads files, or draws, waits for these.
PARSERS = {"justhtml", "docutils", "markdown_it", "plotext"}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("services.gateway.__main__", {*HEAVY, "services.indexer"}),
        ("services.embedder.__main__", {*HEAVY, "qdrant_client"} - {"celery", "kombu"}),
        ("services.trainer.__main__", HEAVY),
        ("services.indexer.__main__", {*HEAVY, "torch"} - {"celery", "kombu"}),
        ("services.standalone.run", {*HEAVY, *PARSERS, "torch", "qdrant_client"}),
        (
            "services.web.__main__",
            {*HEAVY, *SERVICE, *PARSERS} - {"structlog", "prometheus_client"},
        ),
        ("realm.cli.main", {*SERVICE, *PARSERS}),
        ("realm.client.blocking", {*SERVICE, "pydantic"}),
    ],
)
def test_a_process_imports_only_what_it_needs(module: str, unwanted: set[str]) -> None:
    script = f"import sys, {module}; print(*sorted({unwanted} & set(sys.modules)))"
    assert printed(script).split() == []


def test_a_model_is_loaded_without_torchs_compiler() -> None:
    script = (
        "import sys; from realm.model.base import load_base;"
        "from realm.model.checkpoint import new_model; new_model(load_base());"
        "print('torch._dynamo' in sys.modules)"
    )
    assert printed(script).strip() == "False"


def test_what_is_imported_is_not_searched_for_garbage_again_and_again() -> None:
    script = (
        "import gc, services; before = gc.get_stats()[2]['collections'];"
        "import services.gateway.__main__; print(gc.get_stats()[2]['collections'] - before)"
    )
    assert printed(script).strip() == "0"


@pytest.mark.parametrize(
    "begins",
    [
        "services.gateway.__main__.Gateway.start",
        "services.indexer.__main__.serve",
        "services.embedder.__main__.run",
        "services.web.__main__.run",
    ],
)
def test_what_is_imported_never_holds_up_a_service_that_looks_for_garbage(
    begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    main = begins.split(".__main__")[0] + ".__main__"
    script = (
        f"import contextlib, gc, sys; from unittest import mock; import {main} as service\n"
        "def begin(*_):\n"
        "    print(gc.get_freeze_count() > 30 * len(gc.get_objects()))\n"
        "    sys.exit()\n"
        f"with contextlib.suppress(SystemExit), mock.patch({begins!r}, begin): service.main()"
    )
    assert printed(script).strip() == "True"


def printed(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout
