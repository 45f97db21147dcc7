"""Who can reach an address, and which API keys are good enough. No web framework is imported here."""

from __future__ import annotations

from ipaddress import ip_address

from deeprec.errors import ConfigError

_LENGTH = 16  # characters


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def check_key(key: str) -> str:
    """The key without spaces around it; raises ConfigError for one that is easily guessed."""
    key = key.strip()
    if len(key) < _LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"the API key has {len(key)} characters; give {_LENGTH} or more, ASCII, without spaces, such as "
            "`openssl rand -hex 24` prints"
        )
    return key
