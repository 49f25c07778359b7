"""The page's examples run as they stand there, over a real gateway."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "integrations.md"
NEEDS = {"LangChain": "langchain_core", "LlamaIndex": "llama_index.core", "Haystack": "haystack"}
SECTION = re.compile(r"^## (\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)
EXAMPLES = [
    (name, code)
    for name, text in SECTION.findall(PAGE.read_text(encoding="utf-8"))
    for code in EXAMPLE.findall(text)
]


def test_each_framework_has_an_example() -> None:
    assert [name for name, _ in EXAMPLES] == list(NEEDS)


@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_runs_and_prints_what_it_found(
    name: str, code: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS[name], reason=f"needs realm[{name.lower()}]")
    assert "127.0.0.1:50051" in code
    exec(compile(code.replace("127.0.0.1:50051", address), str(PAGE), "exec"), {})
    assert capsys.readouterr().out.splitlines()
