"""The files of embedders' tasks: where each reads and writes follows from its generation.

Whoever can put messages into the queue can have an embedder make again what the indexer asks for
anyway, and nothing else.
"""

from __future__ import annotations

import re

from realm.errors import Corrupt, NotFound
from realm.records.generation import Generation, pieces_folder
from realm.records.generations import Generations
from realm.records.vectors import vector_file

_PIECE = re.compile(r"(?P<folder>.+)/(?P<fingerprint>[^/]+)/(?P<name>[^/]+\.arrow)")
_SNAPSHOT = re.compile(r"(\d{8,})-[0-9a-f]+", re.ASCII)
_PROBES = re.compile(r"probes(?:-of-(?P<by>\d{8,}))?\.arrow", re.ASCII)


def questions_file(generation: Generation) -> str:
    return f"{generation.folder}/probe_questions.arrow"


def probes_file(generation: Generation, by: Generation) -> str:
    """The generation's questions, encoded by a snapshot: its own, or another's to compare with."""
    own = by.number == generation.number
    return f"{generation.folder}/{'probes' if own else f'probes-of-{by.number:08d}'}.arrow"


def piece_files(folder: str, fingerprint: str, name: str) -> tuple[str, str]:
    """Input and vectors of a piece."""
    return f"{folder}/{fingerprint}/{name}.arrow", f"{folder}/vectors/{name}.arrow"


class TaskFiles:
    """Whether a task is one that the indexer could have asked for. `generation`, `snapshot` and the
    paths are as a message says; anybody may have sent it."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    def is_shard(self, generation: int, snapshot: int, source: str, output: str) -> bool:
        """The vectors of one of its passage files."""
        found = self.generation(generation)
        if found is None or found.snapshot != snapshot or source not in found.passage_files:
            return False
        by = _SNAPSHOT.fullmatch(output.partition("/")[2].partition("/")[0])
        return by is not None and int(by[1]) == snapshot and output == vector_file(by[0], source)

    def is_piece(self, generation: int, snapshot: int, source: str, output: str) -> bool:
        """The vectors of a piece of it."""
        found, parts = self.generation(generation), _PIECE.fullmatch(source)
        if found is None or found.snapshot != snapshot or parts is None:
            return False
        name = parts["name"].removesuffix(".arrow")
        within = f"{parts['folder']}/".startswith(f"{pieces_folder(generation)}/")
        return within and (source, output) == piece_files(parts["folder"], found.fingerprint, name)

    def is_probes(self, generation: int, snapshot: int, source: str, output: str) -> bool:
        """Its probe questions, encoded by a generation's snapshot."""
        found = self.generation(generation)
        parts = _PROBES.fullmatch(output.removeprefix(f"{found.folder}/")) if found else None
        if found is None or parts is None or source != questions_file(found):
            return False
        by = found if parts["by"] is None else self.generation(int(parts["by"]))
        return by is not None and by.snapshot == snapshot and output == probes_file(found, by)

    def generation(self, number: int) -> Generation | None:
        """None if there is none, or its manifest is damaged."""
        try:
            return self._generations.get(number)
        except (NotFound, Corrupt):
            return None
