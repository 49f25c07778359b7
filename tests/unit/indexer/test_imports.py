from __future__ import annotations

import subprocess
import sys


def test_the_indexer_needs_neither_torch_nor_transformers_nor_deltalake() -> None:
    code = (
        "import sys, services.indexer.main;"
        "print(sorted({'torch', 'transformers', 'faiss', 'deltalake'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"
