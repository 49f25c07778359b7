import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from realm.cli import model as commands
from realm.errors import FailedPrecondition, InvalidInput, Unsupported
from realm.model.checkpoint import load_model, write_model
from realm.model.config import Projection
from tests.unit.embedder.tiny import SHAPE, tiny_model

PROJECTION = {"pooling": "cls", "normalize": False}


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    commands.register(made)
    return made


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model whose reader can be exported."""
    write_model(tmp_path / "snapshot", tiny_model())
    return tmp_path / "snapshot"


def run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["model", *map(str, arguments)])
