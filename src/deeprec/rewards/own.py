"""Reward parts of your own: functions named `package.module:function` in a stage's table of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import RewardError
from deeprec.references import is_reference, load_function
from deeprec.types import Example, Trajectory

# (trajectory, example, space) -> a number, which is checked; see `RewardSpace` for what it may measure with.
OwnPart = Callable[[Trajectory, Example, Any], object]


def load_part(name: str) -> OwnPart:
    """The function; raises ConfigError for what can't be loaded, or called as a part is."""
    return load_function(name, "reward part", ("trajectory", "example", "space"))


def load_parts(*tables: Mapping[str, float]) -> dict[str, OwnPart]:
    """The parts of your own that tables of weights name, each once; a weight of 0 has one computed and logged."""
    return {name: load_part(name) for table in tables for name in table if is_reference(name)}


def own_values(
    name: str, part: OwnPart, trajectories: Sequence[Trajectory], examples: Sequence[Example], space: Any
) -> NDArray[np.float64]:
    """What a part gives for each trajectory (N,), finite or not; raises RewardError for what is no number."""
    found = []
    for trajectory, example in zip(trajectories, examples, strict=True):
        value = part(trajectory, example, space)
        if not isinstance(value, Real):
            raise RewardError(
                f"'{name}' gave {value!r} for user '{trajectory.user_id}', which is a {type(value).__name__}; "
                "give a number, and nan where it can't be computed"
            )
        found.append(float(value))
    return np.array(found, dtype=np.float64)
