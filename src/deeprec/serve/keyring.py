"""API keys with names, scopes and tenants: a file of hashes that is read again when it changes."""

from __future__ import annotations

import logging
import os
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deeprec.disk import alone, whole_file
from deeprec.errors import ConfigError
from deeprec.serve.keys import SCOPES, Caller, Scope
from deeprec.store.base import check_tenant
from deeprec.toml import to_toml

log = logging.getLogger("deeprec.serve")
_SECOND = 1.0  # between two looks at the file
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class KeyEntry(BaseModel):
    """A named key: the SHA-256 of each of its secrets, the newest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=_NAME)]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    tenant: Annotated[str, AfterValidator(check_tenant)] = ""
    sha256: Annotated[tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...], Field(min_length=1)]


class KeyFile(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyEntry, ...] = ()


@dataclass(frozen=True)
class _State:
    """How the file looked when it was read: a file that looks the same is the same."""

    inode: int
    changed: int
    size: int


class Keyring:
    """Finds out whose a key is. Safe to ask as often as requests come."""

    def __init__(
        self, single: str | None = None, file: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`single` may do everything; `file` holds others. Without both nobody needs a key.

        Raises ConfigError for a file that can't be read.
        """
        self._single = {} if single is None else {digest_of(single): Caller("key")}
        self._file, self._clock, self._looked = file, clock, clock()
        self._state = None if file is None else _state_of(file)
        self._callers = {} if file is None else callers_of(file)

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return not self._single and self._file is None

    def caller(self, key: str) -> Caller | None:
        """Whose key this is; None for nobody's."""
        self._look_again()
        digest = digest_of(key)
        return self._single.get(digest) or self._callers.get(digest)

    def _look_again(self) -> None:
        """Read the file where it has changed; one that can't be read leaves the keys as they were."""
        now = self._clock()
        if self._file is None or now - self._looked < _SECOND:
            return
        self._looked = now
        try:
            state = _state_of(self._file)
            if state == self._state:
                return
            self._callers, self._state = callers_of(self._file), state
        except ConfigError as error:
            log.warning("%s; the keys stay what they were", error)
        else:
            log.info("%s: read again, %d secrets", self._file, len(self._callers))


def digest_of(key: str) -> str:
    """What is kept of a key. Keys are long and random, so that a plain hash can't be guessed from."""
    return sha256(key.encode()).hexdigest()


def read_keys(file: Path) -> KeyFile:
    """The entries of a file; raises ConfigError, naming entry and remedy, for one that can't be used."""
    try:
        found = KeyFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: can't be read ({error}); `deeprec keys add NAME` makes one") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{file}: {where}: {first['msg']}; correct it") from None
    names = [entry.name for entry in found.keys]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"{file}: two keys are called '{double}'; give each a name of its own")
    return found


def callers_of(file: Path) -> dict[str, Caller]:
    """Who each secret's digest belongs to."""
    return {
        digest: Caller(entry.name, entry.tenant, frozenset(entry.scopes))
        for entry in read_keys(file).keys
        for digest in entry.sha256
    }


def add_key(file: Path, name: str, scopes: Sequence[Scope], tenant: str = "") -> str:
    """Write a new named key into the file, made where there is none; the key itself is in no file."""

    def change(entries: Sequence[KeyEntry]) -> list[KeyEntry]:
        if any(entry.name == name for entry in entries):
            raise ConfigError(
                f"{file}: a key is called '{name}' already; `deeprec keys rotate {name}` renews it"
            )
        made = {"name": name, "scopes": tuple(scopes), "tenant": tenant, "sha256": (digest_of(key),)}
        return [*entries, _entry(made)]

    key = _new_key(name)
    _change(file, change)
    return key


def rotate_key(file: Path, name: str) -> str:
    """A new secret for a named key; the former ones hold until `retire_secrets`."""
    key = _new_key(name)
    _change_one(
        file, name, lambda entry: entry.model_copy(update={"sha256": (digest_of(key), *entry.sha256)})
    )
    return key


def retire_secrets(file: Path, name: str) -> int:
    """Let all secrets of a key go but the newest; how many went."""
    gone = len(_find(read_keys(file).keys, file, name).sha256) - 1
    _change_one(file, name, lambda entry: entry.model_copy(update={"sha256": entry.sha256[:1]}))
    return gone


def remove_key(file: Path, name: str) -> None:
    """Take a named key out of the file."""
    _change_one(file, name, lambda _: None)


def _new_key(name: str) -> str:
    return f"dr_{name}_{secrets.token_urlsafe(24)}"


def _entry(values: Mapping[str, object]) -> KeyEntry:
    try:
        return KeyEntry.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"key {first['loc'][0]} = {first['input']!r}: {first['msg']} (scopes: {', '.join(SCOPES)})"
        ) from None


def _find(entries: Sequence[KeyEntry], file: Path, name: str) -> KeyEntry:
    found = next((entry for entry in entries if entry.name == name), None)
    if found is None:
        known = ", ".join(entry.name for entry in entries) or "none"
        raise ConfigError(f"{file}: no key is called '{name}'; there are: {known}")
    return found


def _change_one(file: Path, name: str, change: Callable[[KeyEntry], KeyEntry | None]) -> None:
    def change_all(entries: Sequence[KeyEntry]) -> list[KeyEntry]:
        _find(entries, file, name)
        changed = [change(entry) if entry.name == name else entry for entry in entries]
        return [entry for entry in changed if entry is not None]

    _change(file, change_all)


def _change(file: Path, change: Callable[[Sequence[KeyEntry]], list[KeyEntry]]) -> None:
    """Rewrite the file whole, one process at a time, readable by its owner alone."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file):
            entries = change(read_keys(file).keys if file.exists() else ())
            text = to_toml({"keys": [entry.model_dump(mode="json") for entry in entries]})
            with whole_file(file) as part:
                os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
                part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: can't be written ({error.strerror}); name another with --file") from None


def _state_of(file: Path) -> _State:
    try:
        found = file.stat()
    except OSError as error:
        raise ConfigError(
            f"{file}: can't be read ({error.strerror}); `deeprec keys add NAME` makes one"
        ) from None
    return _State(found.st_ino, found.st_mtime_ns, found.st_size)
