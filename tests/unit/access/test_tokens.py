"""Tokens of an OpenID provider, whose keys come over HTTP; and every token that must not count."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from realm.access import tokens
from realm.access.guard import Callers
from realm.access.key_ring import KeyRing
from realm.access.tokens import Tokens
from realm.errors import BadSettings, Unauthenticated
from realm.records.store import Store
from realm.settings.access import Access
from tests.http_server import HttpServer, serving

AUDIENCE = "realm"
PEM = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Provider:
    """Signs tokens, and publishes the keys that it signs with."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"first": rsa.generate_private_key(65537, 2048)}
        self.asked = 0
        self.away = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                self.send_response(503 if provider.away else 200)
                self.end_headers()
                self.wfile.write(json.dumps(provider.jwks()).encode())

        self.server = HttpServer(Handler)
        self.url = self.server.url

    def jwks(self) -> dict[str, Any]:
        found = []
        for name, key in self.keys.items():
            kind = jwt.algorithms.RSAAlgorithm if _is_rsa(key) else jwt.algorithms.ECAlgorithm
            made = kind.to_jwk(key.public_key(), as_dict=True)
            found.append({**made, "kid": name, "use": "sig"})
        return {"keys": found}

    def token(self, kid: str = "first", **changes: Any) -> str:
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "somebody",
            "exp": time.time() + 600,
            "scope": "openid ask write",
            **changes,
        }
        key = self.keys[kid]
        algorithm = "RS256" if _is_rsa(key) else "ES256"
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, key, algorithm, {"kid": kid})

    def access(self, **changes: Any) -> Access:
        given = {
            "require_keys": True,
            "oidc_issuer": self.url,
            "oidc_audience": AUDIENCE,
            "oidc_jwks_url": f"{self.url}/jwks",
        }
        return Access.model_validate({**given, **changes})


def _is_rsa(key: Any) -> bool:
    return isinstance(key, rsa.RSAPrivateKey)


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()
    with serving(found.server):
        yield found


async def test_a_token_s_scopes_are_those_of_its_claim(provider: Provider) -> None:
    checked = Tokens(provider.access())
    found = await checked.authenticate(provider.token())
    assert (found.name, found.scopes, found.filter) == (
        "subject somebody",
        {"ask", "write"},
        None,
    )
    for scope in (None, "", "serve", {"ask": True}, 7, ["serve", "openid"]):
        assert (await checked.authenticate(provider.token(scope=scope))).scopes == frozenset()
    listed = Tokens(provider.access(oidc_scopes_claim="roles"))
    found = await listed.authenticate(provider.token(roles=["operate", "serve"]))
    assert found.scopes == {"operate"}


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 120},
        {"exp": None},
        {"nbf": time.time() + 86_400},
        {"iss": "https://another.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"sub": 7},
    ],
)
async def test_a_token_that_says_anything_else_does_not_count(
    provider: Provider, changes: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        await Tokens(provider.access()).authenticate(provider.token(**changes))


async def test_a_token_that_the_provider_did_not_sign_does_not_count(provider: Provider) -> None:
    """Unsigned, signed with its public key as a secret, by another key, or altered."""
    whole = provider.token()
    head, body, signature = whole.split(".")
    public = provider.keys["first"].public_key().public_bytes(*PEM)
    claims = jwt.decode(whole, options={"verify_signature": False})
    none = jwt.encode(claims, "", "none", {"kid": "first"})
    forged_head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"first"}').rstrip(b"=").decode()
    signed = f"{forged_head}.{body}".encode()
    secret = hmac.digest(public, signed, hashlib.sha256)
    confused = f"{forged_head}.{body}.{base64.urlsafe_b64encode(secret).rstrip(b'=').decode()}"
    another = jwt.encode(claims, rsa.generate_private_key(65537, 2048), "RS256", {"kid": "first"})
    altered = jwt.encode({**claims, "scope": "operate"}, "x" * 32, "HS256").split(".")[1]
    checked = Tokens(provider.access())
    for token in (
        none,
        confused,
        another,
        f"{head}.{altered}.{signature}",
        f"{head}.{body}.",
        whole[:-8],
        "",
        "a.b.c",
        "\0",
    ):
        with pytest.raises(Unauthenticated):
            await checked.authenticate(token)
    assert (await checked.authenticate(whole)).scopes


async def test_a_new_key_of_the_provider_s_counts_at_once_but_fetches_are_rare(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Tokens(provider.access())
    await checked.authenticate(provider.token())
    provider.keys["second"] = ec.generate_private_key(ec.SECP256R1())
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await checked.authenticate(provider.token(kid="second"))
    assert provider.asked == 1
    monkeypatch.setattr(tokens, "PAUSE_SECONDS", 0.0)
    assert (await checked.authenticate(provider.token(kid="second"))).scopes
    assert provider.asked == 2


async def test_the_keys_of_a_provider_that_is_away_go_on_counting(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Tokens(provider.access())
    await checked.authenticate(provider.token())
    provider.away = True
    monkeypatch.setattr(tokens, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(tokens, "FRESH_SECONDS", 0.0)
    assert (await checked.authenticate(provider.token(sub="another"))).scopes
    assert provider.asked == 2


async def test_what_is_remembered_of_tokens_is_bounded(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    checked = Tokens(provider.access())
    for number in range(9):
        await checked.authenticate(provider.token(sub=str(number)))
    assert len(checked._checked) == 3


async def test_keys_over_plaintext_are_refused(provider: Provider) -> None:
    for url in ("http://issuer.example/jwks", "file:///etc/passwd", "issuer.example"):
        with pytest.raises(BadSettings):
            Tokens(provider.access(oidc_jwks_url=url))


async def test_tokens_count_beside_keys_and_only_where_there_is_an_issuer(
    provider: Provider, tmp_path: Any
) -> None:
    ring = KeyRing(Store.open(str(tmp_path)))
    both = Callers.of(provider.access(), ring)
    assert (await both.authenticate(provider.token())).scopes
    with pytest.raises(Unauthenticated):
        await Callers.of(Access(require_keys=True), ring).authenticate(provider.token())
