"""The short form of `python -m bench growth`."""

from pathlib import Path

import pytest

from bench.texts import has_squad
from tests.acceptance.bench import run_quick


@pytest.mark.timeout(300)
@pytest.mark.skipif(not has_squad(), reason="SQuAD's questions are not beside the project")
def test_answers_improve_with_the_corpus_and_nothing_is_trained(tmp_path: Path) -> None:
    found = run_quick("growth", tmp_path)
    assert found["figures"]["before"]["recall_at_5"] < found["figures"]["after"]["recall_at_5"]
