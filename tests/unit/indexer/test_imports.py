from __future__ import annotations

import subprocess
import sys


def test_the_indexer_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, services.indexer.main;"
        "print(sorted({'torch', 'transformers', 'faiss'} & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_readers_of_passages_and_changes_need_no_delta_table() -> None:
    code = (
        "import sys, realm.corpus.changes, realm.corpus.passage_files;"
        "print('deltalake' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.strip() == "False"
