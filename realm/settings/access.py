"""Settings of who may call what, and of how calls are protected on their way."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from realm.settings.groups import Group


class Access(Group):
    """Keys, tokens, certificates."""

    require_keys: bool = Field(
        False,
        description="callers of a gateway need an API key or a token; without, it listens on"
        " loopback alone",
    )
    insecure: bool = Field(
        False,
        description="allow plaintext, and callers without keys, on other addresses than loopback",
    )
    api_key: str = Field("", description="API key or token that commands of `realm` show a gateway")
    service_key: str = Field(
        "", description="secret by which gateways and indexers know each other; empty: none"
    )
    keys_poll_seconds: float = Field(
        2.0, gt=0, description="pause between two looks at the keys: how long a revoked one lasts"
    )
    oidc_issuer: str = Field(
        "", description="issuer of tokens (JWT) that count beside API keys; empty: none"
    )
    oidc_audience: str = Field("", description="audience that such a token must be for")
    oidc_jwks_url: str = Field(
        "", description="https:// URL of the issuer's public keys, as its discovery page names it"
    )
    oidc_scopes_claim: str = Field(
        "scope", description="claim of a token that names its scopes: ask, write, operate"
    )
    tls_certificate: str = Field(
        "", description="PEM file with this process's certificate and its chain; empty: plaintext"
    )
    tls_private_key: str = Field("", description="PEM file with the certificate's private key")
    tls_authority: str = Field(
        "", description="PEM file of the authorities to trust; empty: the machine's own"
    )
    tls_clients: bool = Field(
        False, description="take no connection without a certificate of REALM_TLS_AUTHORITY"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_private_key):
            raise ValueError("REALM_TLS_CERTIFICATE and REALM_TLS_PRIVATE_KEY need each other")
        if self.tls_clients and not (self.tls_authority and self.tls_certificate):
            raise ValueError(
                "REALM_TLS_CLIENTS needs REALM_TLS_AUTHORITY and REALM_TLS_CERTIFICATE: whom to"
                " trust, and TLS itself"
            )
        if self.oidc_issuer and not (self.oidc_audience and self.oidc_jwks_url):
            raise ValueError(
                "REALM_OIDC_ISSUER needs REALM_OIDC_AUDIENCE and REALM_OIDC_JWKS_URL: whom tokens"
                " are for, and what they are checked with"
            )
        if self.oidc_issuer and not self.require_keys:
            raise ValueError("REALM_OIDC_ISSUER needs REALM_REQUIRE_KEYS: else nobody is asked")
        return self
