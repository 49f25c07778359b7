"""Writes the blocking client from the asyncio one; `--check` only compares."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from unasync import Rule, unasync_files

FOLDER = Path(__file__).parents[1] / "realm" / "client"
SOURCE, TARGET = FOLDER / "aio.py", FOLDER / "blocking.py"
HEADER = '"""The blocking client. Generated from `aio.py` by `make client`: change that file."""\n'
#: Only an asynchronous generator has to yield what another gives one by one.
YIELD_FROM = "lint.extend-safe-fixes = ['UP028']"
NAMES = {
    "AsyncClient": "Client",
    "AsyncDocuments": "Documents",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "AsyncQuestions": "Questions",
    "AsyncRetrying": "Retrying",
    "AsyncTransport": "Transport",
    "aclosing": "closing",
}


def generate() -> str:
    with tempfile.TemporaryDirectory() as folder:
        rule = Rule(str(SOURCE.parent), folder, additional_replacements=NAMES)
        unasync_files([str(SOURCE)], [rule])
        code = (Path(folder) / SOURCE.name).read_text(encoding="utf-8")
    _, _, code = code.partition('"""\n\n')  # the module's docstring is about the source
    checked = _ruff("check", f"{HEADER}\n{code}", "--fix", "--quiet", "--config", YIELD_FROM)
    return _ruff("format", checked)


def _ruff(command: str, code: str, *options: str) -> str:
    arguments = [sys.executable, "-m", "ruff", command, *options, f"--stdin-filename={TARGET}", "-"]
    return subprocess.run(
        arguments, input=code, capture_output=True, text=True, check=True, cwd=FOLDER
    ).stdout


if __name__ == "__main__":
    code = generate()
    if "--check" not in sys.argv:
        TARGET.write_text(code, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != code:
        raise SystemExit(f"{TARGET.name} differs from what {SOURCE.name} gives: run `make client`")
