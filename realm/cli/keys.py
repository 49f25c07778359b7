"""`realm keys`: who may call the gateways. Whoever can write to the store can make keys."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from realm import filters
from realm.cli.options import (
    STORE,
    AsJson,
    StoreUrl,
    check_packages,
    finite,
    open_store,
    settings_with,
)
from realm.cli.output import ago, messages, rows_table, show

if TYPE_CHECKING:
    from realm.records.keys import ApiKey, ApiKeys

DAY_SECONDS = 86_400.0


def register(app: typer.Typer) -> None:
    keys = typer.Typer(help="Keys that callers of the gateways show.", no_args_is_help=True)
    keys.command()(create)
    keys.command("list")(list_keys)
    keys.command()(revoke)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Argument(help="whose key it is, or what for")],
    scope: Annotated[
        list[str], typer.Option(help="ask, write or operate; repeatable", show_default=False)
    ],
    days: Annotated[
        float,
        typer.Option(help="days until it expires; 0: when revoked", min=0, callback=finite),
    ] = 0,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="reach only documents whose metadata match, such as tenant=acme; repeatable",
            show_default=False,
        ),
    ] = None,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once, and kept nowhere: the store has its hash alone."""
    from realm.records.keys import Scope

    if unknown := [each for each in scope if each not in set(Scope)]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(Scope)}")
    key, record = _keys("create", store, may_be_new=True).create(
        name,
        map(Scope, scope),
        seconds=days * DAY_SECONDS,
        filter=filters.where(*where) if where else None,
    )
    messages().print("This key is shown only now; gateways know it in a moment.")
    show({"key": key, **_plain(record, frozenset())}, as_json, key)


def list_keys(store: StoreUrl = "", as_json: AsJson = False) -> None:
    """List all keys that were ever made, without what opens."""
    keys = _keys("list", store)
    revoked = keys.revoked()
    found = [_plain(each, revoked) for each in keys.all()]
    rows = [
        {
            "id": each["id"],
            "name": each["name"],
            "scopes": " ".join(each["scopes"]),
            "reaches": json.dumps(each["filter"]) if each["filter"] else "all",
            "made": f"{ago(each['created_at'])} ago",
            "state": each["state"],
        }
        for each in found
    ]
    show(found, as_json, rows_table(rows) if rows else "There is no key yet.")


def revoke(
    key_id: Annotated[str, typer.Argument(help="its id, as `realm keys list` shows it")],
    reason: Annotated[str, typer.Option(help="kept with the revocation")] = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Revoke a key, for ever. Gateways refuse it within REALM_KEYS_POLL_SECONDS."""
    done = _keys("revoke", store).revoke(key_id, reason)
    show({"id": done.id, "at": done.at, "why": done.why}, as_json, f"{done.id} is revoked")


def _keys(command: str, store: str, *, may_be_new: bool = False) -> ApiKeys:
    check_packages(f"realm keys {command}", STORE)
    from realm.records.keys import ApiKeys

    return ApiKeys(open_store(settings_with(store), may_be_new=may_be_new))


def _plain(key: ApiKey, revoked: frozenset[str]) -> dict[str, Any]:
    """Everything but the hash."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(map(str, key.scopes)),
        "created_at": key.created_at,
        "expires_at": key.expires_at or None,
        "filter": json.loads(key.filter) if key.filter else None,
        "state": _state(key, revoked),
    }


def _state(key: ApiKey, revoked: frozenset[str]) -> str:
    if key.id in revoked:
        return "revoked"
    return "expired" if key.expired(time.time()) else "valid"
