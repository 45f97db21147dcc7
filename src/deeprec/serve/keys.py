"""Who can reach an address, and which API keys are good enough. No web framework is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Literal, get_args

from deeprec.errors import ConfigError

Scope = Literal["recommend", "write", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_LENGTH = 16  # characters


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of a key, or of an address where no key is asked for.

    `tenant` says whose users they are that it sees: the first tenant's name is empty.
    """

    name: str
    tenant: str = ""
    scopes: frozenset[Scope] = frozenset(SCOPES)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def network_of(address: str) -> str:
    """What one client may be taken for: an address, all of this machine's own, or a /64 of IPv6.

    >>> network_of("127.8.9.1"), network_of("::ffff:192.0.2.1"), network_of("2001:db8::1:2")
    ('loopback', '192.0.2.1', '2001:db8::/64')
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback:
        return "loopback"
    if isinstance(found, IPv6Address):
        return f"{IPv6Address(int(found) >> 64 << 64)}/64"
    return str(found)


def check_key(key: str) -> str:
    """The key without spaces around it; raises ConfigError for one that is easily guessed."""
    key = key.strip()
    if len(key) < _LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"the API key has {len(key)} characters; give {_LENGTH} or more, ASCII, without spaces, such as "
            "`openssl rand -hex 24` prints"
        )
    return key
