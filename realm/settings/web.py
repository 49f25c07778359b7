"""Settings of the web service."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

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
    llm_url: str = Field(
        "",
        description="URL of an API like OpenAI's, as http://127.0.0.1:11434/v1: passages and"
        " questions of chats that ask for it go there; empty: none",
    )
    llm_model: str = Field("", description="the model there that writes answers")
    llm_key: str = Field("", description="the key that it asks for, if any")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.llm_url) != bool(self.llm_model):
            raise ValueError("REALM_WEB_LLM_URL and REALM_WEB_LLM_MODEL need each other")
        return self
