"""Answers and trajectories as compressed JSON, every number to its last bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
import zstandard
from pydantic import TypeAdapter

from deeprec.recommender import Recommendation
from deeprec.types import Trajectory

Kept = TypeVar("Kept", Recommendation, Trajectory)

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(list[kind])  # type: ignore[valid-type]
    for kind in (Recommendation, Trajectory)
}


def to_bytes(values: Sequence[Recommendation] | Sequence[Trajectory]) -> bytes:
    """The values of one batch."""
    text = json.dumps([asdict(value) for value in values], default=_plain)
    return zstandard.compress(text.encode())


def from_bytes(content: bytes, kind: type[Kept]) -> list[Kept]:
    """What `to_bytes` was given."""
    found: list[Kept] = _ADAPTERS[kind].validate_python(json.loads(zstandard.decompress(content)))
    return found


def _plain(value: object) -> int | float:
    """A number of numpy's as one of Python's: rivals of your own may answer with those."""
    if isinstance(value, np.generic):
        number: int | float = value.item()
        return number
    raise TypeError(f"{type(value).__name__} is no plain value")
