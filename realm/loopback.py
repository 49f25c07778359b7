"""Addresses of this very machine: no proxy ever stands between it and itself."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_SCHEMES = re.compile(r"^(https?://|dns://[^/]*/|(dns|ipv4|ipv6):/*)", re.IGNORECASE)
_UNIX = re.compile(r"^unix(-abstract)?:", re.IGNORECASE)


def is_loopback(address: str) -> bool:
    """Whether `host:port`, a URL or a gRPC target leads to this machine alone."""
    if _UNIX.match(address):
        return True
    hosts = [_host(each) for each in _SCHEMES.sub("", address).split(",")]
    return all(_is_own(each) for each in hosts)


def _host(address: str) -> str:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        pass
    else:
        return address
    try:
        return urlsplit(f"//{address}").hostname or ""
    except ValueError:
        return ""


def _is_own(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    # Whoever calls the address that stands for all of a machine's own calls this machine.
    return bool(mapped.is_loopback or mapped.is_unspecified)
