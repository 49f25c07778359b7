"""What commands share: options, the gateway's client, the store, checks before the work."""

from __future__ import annotations

import importlib.util
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm import tracing
from realm.cli.output import messages
from realm.client import Client, Tls
from realm.client.wire import HTTPS
from realm.errors import FailedPrecondition, InvalidInput, NotFound, Unreachable
from realm.settings import Settings, load_settings

if TYPE_CHECKING:
    from realm.records.store import Store

#: The largest number that the API and the store hold.
MOST = 2**63 - 1
#: Packages that commands need, each with the extra that installs it: of commands that compute
#: with a model, of those that read documents too, and of those that use the store.
MODEL = {"torch": "model", "transformers": "model"}
MODEL_AND_DOCUMENTS = {**MODEL, "pyarrow": "service"}
STORE = {"obstore": "service", "pyarrow": "service"}
DEFAULT_TIMEOUT = 30.0
HOW_TO_REACH = (
    "`make run` (`realm up`) starts a cluster on this machine; --address or REALM_GATEWAY_ADDRESS"
    " names another gateway"
)


def not_nan(value: float) -> float:
    """For options whose bounds NaN passes, since all comparisons with it fail."""
    if math.isnan(value):
        raise typer.BadParameter("give a number")
    return value


def finite_if_any(value: float | None) -> float | None:
    """As `finite`, of an option that need not be given."""
    return None if value is None else finite(value)


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter("give a finite number")
    return value


def from_home(path: Path | None) -> Path | None:
    """With `~` as it is meant: not every shell expands it within an argument."""
    return None if path is None else path.expanduser()


def all_from_home(paths: list[Path] | None) -> list[Path]:
    return [path.expanduser() for path in paths or []]


Address = Annotated[
    str,
    typer.Option(
        help="the gateway: host:port, or https://host", show_default="REALM_GATEWAY_ADDRESS"
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        help="give up a call after this many seconds; inf: never", min=0.001, callback=not_nan
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of words")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="only documents with this metadata: key=value, key!=value, key=one|other,"
        " key>=2024-05-01 (>, <=, <), key, !key; repeatable, all must hold",
    ),
]
Reason = Annotated[str, typer.Option(help="recorded in the index's history")]
RequestId = Annotated[str, typer.Option(help="names this call: sent again, it is carried out once")]
Paths = Annotated[
    list[Path],
    typer.Argument(
        help="folder, or file: .jsonl, .csv, .tsv, .parquet, a Wikipedia's .xml, compressed or not,"
        " .md, .rst, .txt, .html, .pdf, .docx; or a dataset, hf:NAME, a repository, git:URL, a page"
        " or a sitemap, https://…"
    ),
]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        help="URL of the store, or folder of `make run`",
        show_default="REALM_STORE_URL",
    ),
]


@contextmanager
def connect(address: str, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Client]:
    """A client of the gateway at `address`, or of the one in the settings.

    :raises Unreachable: if no gateway is there, saying how to reach one.
    """
    try:
        with Client(**gateway_options(address), timeout=timeout) as client:
            yield client
    except Unreachable as error:
        raise Unreachable(f"{error.message}. {HOW_TO_REACH}") from error


def gateway_options(address: str) -> dict[str, Any]:
    """A client's options for the gateway at `address`, or for the one in the settings."""
    settings = load_settings()
    tracing.set_up("cli", settings.process.trace_folder)
    target, access = address or settings.addresses.gateway_address, settings.access
    tls = Tls(access.tls_authority, access.tls_certificate, access.tls_private_key)
    return {
        "address": target,
        "key": access.api_key,
        "tls": tls if target.startswith(HTTPS) else None,
        "insecure": access.insecure,
    }


def settings_with(store: str) -> Settings:
    return load_settings(**({"store_url": store} if store else {}))


def open_store(settings: Settings, *, may_be_new: bool = False) -> Store:
    """:raises NotFound: if it is a folder that does not exist, and may not be new."""
    from realm.records.store import Store, local_root

    url = settings.addresses.store_url
    if folder := local_root(url):
        # `make run` keeps its store beside logs and queue, in a folder of that name.
        if (folder / "store").is_dir():
            url = str(folder / "store")
        elif not folder.is_dir() and not may_be_new:
            raise NotFound(
                f"there is no store in {url}: name it by --store or REALM_STORE_URL;"
                " that of `make run` is .realm/store"
            )
        elif not folder.is_dir():
            messages().print(f"{url} is a new store: no cluster uses it yet", markup=False)
    return Store.open(url, settings.addresses.store_cache)


def check_packages(command: str, packages: Mapping[str, str]) -> None:
    """:param packages: the extra of realm that brings each package.

    :raises FailedPrecondition: naming the extras that bring what is missing.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        extras = ",".join(sorted({packages[name] for name in missing}))
        raise FailedPrecondition(
            f"`{command}` needs {', '.join(missing)}: pip install 'realm[{extras}]'"
        )
    _log_to_stderr()


def _log_to_stderr() -> None:
    """What a command's libraries log: results alone are on stdout."""
    if importlib.util.find_spec("structlog") is None:
        return
    import structlog

    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def check_new(folder: Path) -> None:
    """:raises InvalidInput: if something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} already exists: name a new folder, or empty it first")


def write_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """The folder appears with all its files or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".realm-") as beside:
        made = Path(beside) / "made"
        write(made)
        made.replace(folder)
