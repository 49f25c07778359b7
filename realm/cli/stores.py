"""The store that a command reads or writes itself, found by `--store` or `REALM_STORE_URL`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from realm.cli.options import messages
from realm.errors import NotFound
from realm.settings import Settings, load_settings

if TYPE_CHECKING:
    from realm.records.store import Store

StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        help="URL of the store, or folder of `make run`",
        show_default="REALM_STORE_URL",
    ),
]


def settings_with(store: str) -> Settings:
    return load_settings(**({"store_url": store} if store else {}))


def open_store(settings: Settings, *, may_be_new: bool = False) -> Store:
    """:raises NotFound: if it is a folder that is not there: a wrong path is no empty store."""
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
