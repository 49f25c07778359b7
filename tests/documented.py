"""What the pages tell readers to run: the blocks of each page, and the commands of a block."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Beside those that say so, blocks that are commands: they begin like one.
BEGINS = re.compile(r"(?:realm|python|make|kubectl|curl) ")
INNER = re.compile(r"\$\(([^()]*)\)")
ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")
#: What parts one command from the next.
ENDS = {"|", "||", "&&", "&", ";"}
#: Of loops: the commands in them count.
LOOPS = {"do", "done"}
#: What a value of a command within another stands for.
VALUE = "value"


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.code.splitlines()[0][:60]}"


@dataclass(frozen=True)
class Command:
    """`words` are the program and its arguments, `environment` what stands before them."""

    block: Block
    environment: dict[str, str]
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.block.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def blocks(language: str) -> list[Block]:
    """`sh` are all blocks of commands, `console` those of a session among them."""
    found = [
        Block(page, kind, code)
        for page in PAGES
        for kind, code in BLOCK.findall(page.read_text(encoding="utf-8"))
    ]
    if language != "sh":
        return [each for each in found if each.language == language]
    return [
        each
        for each in found
        if each.language in ("sh", "console") or (not each.language and BEGINS.match(each.code))
    ]


def commands(block: Block) -> Iterator[Command]:
    """In order; those of pipes and substitutions too."""
    code = block.code
    if block.language == "console":
        code = "\n".join(line[2:] for line in code.splitlines() if line.startswith("$ "))
    for line in code.replace("\\\n", " ").splitlines():
        while (inner := INNER.search(line)) is not None:
            yield from _of_line(block, inner[1])
            line = line[: inner.start()] + VALUE + line[inner.end() :]
        yield from _of_line(block, line)


def _of_line(block: Block, line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in ENDS:
            if words or word not in LOOPS:
                words.append(word)
            continue
        if words[:1] == ["for"]:
            words = []
        environment = {}
        while words and ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            environment[name] = value
        if words or environment:
            yield Command(block, environment, tuple(words))
        words = []
