"""All reward parts of a batch of trajectories, and their mixture by a stage's weights."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.disk import append_jsonl
from deeprec.errors import ConfigError, RewardError
from deeprec.references import is_reference
from deeprec.rewards.outcome import (
    hit_reward,
    items_by_line,
    list_format_reward,
    rank_reward,
    similarity_reward,
)
from deeprec.rewards.own import OwnPart, load_part, own_values
from deeprec.rewards.process import diversity_reward, format_reward, invocation_reward, preferences_of
from deeprec.trm.base import TextEncoder
from deeprec.types import Example, Trajectory

PROCESS_PARTS = ("format", "invocation", "diversity")
OUTCOME_PARTS = ("list_format", "hit", "rank", "similarity")
# Beyond the paper, for ablations: weighs nothing unless a stage asks for it.
EXTRA_PARTS = ("pool",)
PARTS = PROCESS_PARTS + OUTCOME_PARTS + EXTRA_PARTS

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class RewardSpace:
    """What rewards measure with: the catalogue, and vectors of preferences and items.

    `text_vectors` (n_items + 1, D_text) and `item_vectors` (n_items + 1, D) have rows of
    unit length and a zero row 0; a TRM without item vectors leaves them None.
    """

    catalog: Catalog
    encoder: TextEncoder
    text_vectors: Floats
    item_vectors: Floats | None
    recommended: int  # K, items that a list must hold
    own: Mapping[str, OwnPart] = field(default_factory=dict)  # parts of your own, by name


def reward_parts(
    trajectories: Sequence[Trajectory],
    examples: Sequence[Example],
    space: RewardSpace,
    *,
    rollouts_per_user: int = 1,
    failed: Path | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Every part of `PARTS`, and those of your own, as arrays (N,), parallel to `trajectories` and `examples`.

    Raises RewardError when a part is not a finite number, naming part, user and rollout
    (trajectories of one user stand together, `rollouts_per_user` of them); the trajectory
    is appended to the file `failed` first. Such a reward is never replaced by zero.
    """
    vectors = _encode_preferences(trajectories, space.encoder)
    rows = [
        _process_parts(trajectory, vectors) | _outcome_parts(trajectory, example, space)
        for trajectory, example in zip(trajectories, examples, strict=True)
    ]
    parts = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in PARTS}
    parts |= {name: own_values(name, part, trajectories, examples, space) for name, part in space.own.items()}
    _check_finite(parts, trajectories, rollouts_per_user, failed)
    return parts


def check_weights(weights: Mapping[str, float], place: str) -> None:
    """Raise ConfigError when a weight names no reward part, or every weight is zero.

    A name such as `package.module:function` is a part of your own, and must be one that can be used.
    """
    for name in weights:
        if is_reference(name):
            load_part(name)
        elif name not in PARTS:
            near = difflib.get_close_matches(name, PARTS, n=1, cutoff=0.5)
            known = f"known: {', '.join(PARTS)}, or a function of yours as package.module:function"
            hint = f"did you mean '{near[0]}'?" if near else known
            raise ConfigError(f"{place}: unknown reward part '{name}'; {hint}")
    if not any(weights.values()):
        raise ConfigError(f"{place}: no reward part weighs anything; give at least one of {', '.join(PARTS)}")


def mix(parts: Mapping[str, Floats], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Weighted sum (N,) of the parts, R = sum over parts p of w_p r_p; those without a weight count nothing.

    >>> mix({"hit": np.array([1.0, 0.0]), "format": np.array([0.0, -1.0])} , {"hit": 2.0}).tolist()
    [2.0, 0.0]
    """
    check_weights(weights, "reward weights")
    mixed = np.zeros(len(next(iter(parts.values()))), dtype=np.float64)
    for name, weight in weights.items():
        mixed += weight * parts[name]
    return mixed


def _encode_preferences(trajectories: Sequence[Trajectory], encoder: TextEncoder) -> dict[str, Floats]:
    """Vector of every distinct preference of the batch: rollouts repeat themselves a lot."""
    texts = list(dict.fromkeys(p for trajectory in trajectories for p in preferences_of(trajectory)))
    if not texts:
        return {}
    return dict(zip(texts, np.asarray(encoder.encode(texts), dtype=np.float64), strict=True))


def _process_parts(trajectory: Trajectory, vectors: Mapping[str, Floats]) -> dict[str, float]:
    preferences = preferences_of(trajectory)
    embedded = np.stack([vectors[p] for p in preferences]) if preferences else np.zeros((0, 1))
    return {
        "format": format_reward(trajectory),
        "invocation": invocation_reward(len(preferences)),
        "diversity": diversity_reward(embedded),
    }


def _outcome_parts(trajectory: Trajectory, example: Example, space: RewardSpace) -> dict[str, float]:
    target = example.target
    list_format = list_format_reward(trajectory, space.recommended)
    parts = {"list_format": list_format, "hit": 0.0, "rank": 0.0, "similarity": 0.0}
    # The pool says what exploring found; it doesn't depend on how the list was written.
    parts["pool"] = 1.0 if target in trajectory.pool else 0.0
    # Nothing is earned with a broken form: neither of the list nor of the exploration before it.
    if list_format < 0 or not trajectory.is_valid:
        return parts
    items = items_by_line(trajectory, space.catalog)
    parts["hit"] = hit_reward(items, target)
    parts["rank"] = rank_reward(items, target, space.recommended)
    parts["similarity"] = similarity_reward(items, target, space.text_vectors, space.item_vectors)
    return parts


def _check_finite(
    parts: Mapping[str, Floats],
    trajectories: Sequence[Trajectory],
    rollouts_per_user: int,
    failed: Path | None,
) -> None:
    for name, values in parts.items():
        broken = np.flatnonzero(~np.isfinite(values))
        if not len(broken):
            continue
        position = int(broken[0])
        user, rollout = trajectories[position].user_id, position % rollouts_per_user
        saved = ""
        if failed is not None:
            append_jsonl(failed, {"part": name, "rollout": rollout, **asdict(trajectories[position])})
            saved = f"; saved to {failed.name}"
        raise RewardError(f"'{name}' gave {values[position]} for user '{user}', rollout {rollout}{saved}")
