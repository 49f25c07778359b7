"""Tokens (JWT) of an OpenID provider, checked with the public keys that it publishes (JWKS)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import urllib.request
from collections import OrderedDict
from typing import Any

import jwt
import structlog

from realm.access.principal import Principal
from realm.errors import BadSettings, Unauthenticated
from realm.loopback import is_loopback
from realm.records.keys import Scope
from realm.settings.access import Access

#: No symmetric one: with those, whoever checks a token could make it.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
LEEWAY_SECONDS = 30.0
FETCH_SECONDS = 5.0
#: How long keys count before they are fetched again.
FRESH_SECONDS = 300.0
#: Between two fetches: a token may name a key that nobody has.
PAUSE_SECONDS = 10.0
MOST_BYTES = 1 << 20
REMEMBERED = 4_096
MOST_SUBJECT = 100

log = structlog.get_logger(__name__)


class Tokens:
    """Checks tokens; each is checked once while it is remembered. For the event loop."""

    def __init__(self, access: Access) -> None:
        """:raises BadSettings: if the keys would come over plaintext."""
        url = access.oidc_jwks_url
        if not url.startswith("https://") and not (url.startswith("http://") and is_loopback(url)):
            raise BadSettings("REALM_OIDC_JWKS_URL is no https:// URL: anybody could forge keys")
        self._access = access
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._checked: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def authenticate(self, token: str) -> Principal:
        """:raises Unauthenticated: without anything that the token says."""
        name = hashlib.sha256(token.encode()).digest()
        known, until = self._checked.get(name, (None, 0.0))
        if known is not None and time.time() < until:
            return known
        self._checked.pop(name, None)
        principal, until = await self._check(token)
        self._checked[name] = principal, until
        if len(self._checked) > REMEMBERED:
            self._checked.popitem(last=False)
        return principal

    async def _check(self, token: str) -> tuple[Principal, float]:
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(
                token,
                await self._key(str(header.get("kid", ""))),
                algorithms=list(ALGORITHMS),
                audience=self._access.oidc_audience,
                issuer=self._access.oidc_issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("this token has expired: get a new one") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            log.info("token_refused", why=type(error).__name__)
            raise Unauthenticated("this is neither a key nor a token that counts here") from error
        principal = Principal(f"subject {claims['sub'][:MOST_SUBJECT]}", self._scopes(claims))
        # As a key that its issuer withdrew: it counts until keys are fetched again.
        until = min(float(claims["exp"]) + LEEWAY_SECONDS, time.time() + FRESH_SECONDS)
        return principal, until

    def _scopes(self, claims: dict[str, Any]) -> frozenset[str]:
        """Words, or a list of them; of others than ours nothing follows."""
        given = claims.get(self._access.oidc_scopes_claim, "")
        words = given.split() if isinstance(given, str) else given
        return frozenset(
            str(scope) for scope in Scope if isinstance(words, list) and scope in words
        )

    async def _key(self, key_id: str) -> Any:
        """:raises Unauthenticated: if the issuer has no such key."""
        if key_id not in self._keys or self._stale():
            async with self._fetching:
                if key_id not in self._keys or self._stale():
                    await self._fetch()
        if (key := self._keys.get(key_id)) is None:
            raise Unauthenticated("this token is signed by a key that its issuer does not publish")
        return key

    def _stale(self) -> bool:
        return time.monotonic() - self._fetched_at > FRESH_SECONDS

    async def _fetch(self) -> None:
        """Keeps the keys that it has if the issuer is away."""
        if time.monotonic() - self._tried_at < PAUSE_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            found = jwt.PyJWKSet.from_dict(
                await asyncio.to_thread(_download, self._access.oidc_jwks_url)
            )
        except (OSError, ValueError, jwt.PyJWTError) as error:
            log.error("token_keys_not_fetched", why=type(error).__name__)
            return
        self._keys = {str(each.key_id): each for each in found.keys if each.key_id}
        self._fetched_at = time.monotonic()


def _download(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer:
        return json.loads(answer.read(MOST_BYTES))
