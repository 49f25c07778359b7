"""Settings of the web service."""

from __future__ import annotations

from pydantic import Field

from realm.settings.groups import Group


class Web(Group, prefix="web_"):
    """The web service: HTTP before a gateway, which REALM_GATEWAY_ADDRESS names."""

    listen: str = Field("127.0.0.1:8051", description="address the web service listens on")
    hosts: str = Field(
        "",
        description="names, separated by commas, under which the web service answers callers who"
        " need no key, beside this machine's own",
    )
    timeout_seconds: float = Field(
        30, gt=0, le=600, description="deadline of a call whose caller leaves none"
    )
    streams: int = Field(64, ge=1, description="most callers that follow the index at once")
