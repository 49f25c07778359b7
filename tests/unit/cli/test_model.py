import importlib.util
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from bench.tiny import random_base
from realm.cli import model as commands
from realm.errors import FailedPrecondition, InvalidInput, NotFound, RealmError, Unsupported
from realm.model.checkpoint import Model, load_model, new_model, write_model
from realm.model.config import Projection
from tests.tiny import letter_model


def realm_model() -> Model:
    """A tiny model of REALM's own form."""
    model = letter_model()
    return new_model(
        random_base(model.inputs.tokenizer, model.config.lengths, pooler=True),
        pooling="pooler",
        projection=Projection(6),
        normalize=False,
    )


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    commands.register(made)
    return made


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    write_model(tmp_path / "snapshot", realm_model())
    return tmp_path / "snapshot"


def run(app: typer.Typer, *arguments: object) -> str:
    """The output; a domain error is raised, as `realm` itself reports it."""
    result = CliRunner().invoke(app, ["model", *map(str, arguments)])
    if isinstance(result.exception, RealmError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_snapshot_goes_out_and_comes_back(
    app: typer.Typer, snapshot: Path, tmp_path: Path
) -> None:
    for kind in ("scorer", "encoder", "reader"):
        told = run(app, "export", snapshot, "--to", tmp_path / kind, "--kind", kind)
        assert f"a REALM {kind}" in told
    told = run(
        app,
        *("import", tmp_path / "scorer", "--to", tmp_path / "deep" / "model"),
        *("--reader", tmp_path / "reader", "--mlm", tmp_path / "encoder"),
    )
    assert "6 dimensions, towers shared" in told
    before, after = load_model(snapshot), load_model(tmp_path / "deep" / "model")
    assert after.config == before.config
    for left, right in ((before.retriever, after.retriever), (before.reader, after.reader)):
        given = right.state_dict()
        assert all(torch.equal(tensor, given[name]) for name, tensor in left.state_dict().items())


def test_a_folder_that_is_not_there_is_named(app: typer.Typer, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        run(app, "export", tmp_path / "typo", "--to", tmp_path / "new", "--kind", "reader")


def test_query_tower_and_tokenizer_may_come_from_elsewhere(
    app: typer.Typer, snapshot: Path, tmp_path: Path
) -> None:
    run(app, "export", snapshot, "--to", tmp_path / "embedder", "--kind", "embedder")
    (tmp_path / "embedder" / "tokenizer.json").unlink()
    told = run(
        app,
        *("import", tmp_path / "embedder", "--query", tmp_path / "embedder"),
        *("--tokenizer", snapshot, "--to", tmp_path / "model"),
    )
    assert "towers separate" in told
    tokenizer = load_model(tmp_path / "model").inputs.tokenizer
    assert tokenizer.to_str() == letter_model().inputs.tokenizer.to_str()


def test_a_folder_with_something_in_it_is_left_alone(
    app: typer.Typer, snapshot: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("mine")
    with pytest.raises(InvalidInput, match="already exists"):
        run(app, "export", snapshot, "--to", kept, "--kind", "reader")
    with pytest.raises(InvalidInput, match="already exists"):
        run(app, "import", snapshot, "--to", kept)
    assert [path.name for path in kept.iterdir()] == ["file"]


def test_what_fails_leaves_nothing_behind(app: typer.Typer, tmp_path: Path) -> None:
    write_model(tmp_path / "cosine", letter_model())
    with pytest.raises(Unsupported, match="normalised"):
        run(app, "export", tmp_path / "cosine", "--to", tmp_path / "out", "--kind", "scorer")
    with pytest.raises(Unsupported, match="not a REALM checkpoint"):
        run(app, "import", tmp_path / "cosine", "--to", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["cosine"]


def test_an_unknown_kind_is_refused_by_name(app: typer.Typer, snapshot: Path) -> None:
    result = CliRunner().invoke(
        app, ["model", "export", str(snapshot), "--to", "out", "--kind", "openqa"]
    )
    assert result.exit_code == 2
    assert "openqa" in result.output


def test_missing_packages_are_named_with_their_extra(
    app: typer.Typer, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FailedPrecondition, match=r"torch.*pip install 'realm\[model\]'"):
        run(app, "import", snapshot, "--to", tmp_path / "out")
