"""What a process does not import: each library costs every start time and memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVICE = {"transformers", "scipy", "sympy", "torch._dynamo", "deltalake", "faiss", "plotly"}
COMMAND = {
    *("torch", "numpy", "pyarrow", "tokenizers", "transformers", "qdrant_client", "redis"),
    *("structlog", "obstore", "deltalake", "celery", "prometheus_client"),
}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("services.gateway.__main__", SERVICE),
        ("services.embedder.__main__", SERVICE),
        ("services.trainer.__main__", SERVICE),
        ("services.indexer.__main__", {*SERVICE, "torch"}),
        ("realm.cli.main", COMMAND),
    ],
)
def test_a_process_imports_only_what_it_needs(module: str, heavy: set[str]) -> None:
    script = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    assert printed(script).split() == []


def test_a_model_is_loaded_without_torchs_compiler() -> None:
    script = (
        "import sys; from realm.model.base import load_base;"
        "from realm.model.checkpoint import new_model; new_model(load_base());"
        "print('torch._dynamo' in sys.modules)"
    )
    assert printed(script).strip() == "False"


def printed(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout
