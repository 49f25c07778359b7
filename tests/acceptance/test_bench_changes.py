"""The short form of `python -m bench changes`."""

from pathlib import Path

import pytest

from tests.acceptance.bench import run_quick


@pytest.mark.timeout(300)
def test_few_changed_documents_embed_few_passages_and_give_the_same_collection(
    tmp_path: Path,
) -> None:
    found = run_quick("changes", tmp_path)
    assert found["claims"][0]["value"] > 0
