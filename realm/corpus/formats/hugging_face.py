"""Hugging Face datasets: a folder that `save_to_disk` made or that was downloaded from the hub, and
`hf:NAME` by its name there. Of the hub's own conversion to Parquet, so that no code of a dataset
runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from realm.corpus.containers import LAYOUTS, NAMED, Asked, Found, container
from realm.corpus.rows import from_values
from realm.errors import DependencyUnavailable, InvalidInput

#: Where the hub keeps it.
CONVERTED = "refs/convert/parquet"
INSTALL = "pip install 'realm[datasets]'"


@container(".arrow")
def read_arrow(file: BinaryIO, asked: Asked) -> Iterator[Found]:
    """As `save_to_disk` writes it: a stream of record batches.

    :raises InvalidInput: if it is none, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise InvalidInput(f"Arrow is read by pyarrow: {INSTALL}") from error
    number = 0
    try:
        for batch in pa.ipc.open_stream(file):
            for row in batch.to_pylist():
                number += 1
                yield number, partial(from_values, row, asked.columns)
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"no stream of Arrow that can be read: {error}") from error


def shards_of(folder: Path) -> list[Path] | None:
    """Of one split or of several."""
    if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
        return sorted(folder.rglob("*.arrow"))
    shards = sorted(folder.rglob("*.parquet"))
    return shards or None


def of_the_hub(name: str, longest: int) -> Iterator[Path]:
    """A file is downloaded when its turn comes, and kept as the hub's own client keeps it.

    :raises InvalidInput: if there is no such dataset, or the client is not installed.
    :raises DependencyUnavailable: if the hub cannot be reached.
    """
    try:
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
    except ImportError as error:
        raise InvalidInput(f"hf:{name} takes huggingface_hub: {INSTALL}") from error
    try:
        files = HfApi().list_repo_files(name, repo_type="dataset", revision=CONVERTED)
        for file in sorted(each for each in files if each.endswith(".parquet")):
            yield Path(hf_hub_download(name, file, repo_type="dataset", revision=CONVERTED))
    except RepositoryNotFoundError as error:
        raise InvalidInput(f"the hub has no dataset {name}, or not for you") from error
    except (HfHubHTTPError, OSError) as error:
        raise DependencyUnavailable(f"hf:{name} cannot be downloaded: {error}") from error


LAYOUTS.append(shards_of)
NAMED["hf"] = of_the_hub
