"""A catalogue of six items with hand-made vectors, and trajectories over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from deeprec.data.catalog import Catalog
from deeprec.rewards.mixture import RewardSpace
from deeprec.types import Item, StopReason, Trajectory, Turn

TITLES = ("Alien", "Brazil", "Casino", "Dune", "Emma", "Fargo")

MakeTrajectory = Callable[..., Trajectory]


class WordEncoder:
    """Unit vectors over three known words; a text without any of them is a zero row."""

    words = ("space", "crime", "love")
    dim = 3
    fingerprint = "words"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.array([[float(word in text) for word in self.words] for text in texts], dtype=np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(tuple(Item(i, f"id{i}", title, title) for i, title in enumerate(TITLES, 1)))


@pytest.fixture
def space(catalog: Catalog) -> RewardSpace:
    # Text space: items 1-3 point one way, 4-6 another. Item space: angles of 30 degrees apart.
    text = np.zeros((7, 2))
    text[1:4, 0] = text[4:7, 1] = 1.0
    angles = np.deg2rad(30.0 * np.arange(6))
    items = np.vstack([np.zeros(2), np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    return RewardSpace(catalog, WordEncoder(), text, items, recommended=3)


@pytest.fixture
def make(catalog: Catalog) -> MakeTrajectory:
    def build(
        lines: Sequence[str] = ("Alien", "Brazil", "Casino"),
        preferences: Sequence[str] = ("space",),
        stop: StopReason = StopReason.FINISHED,
        errors: tuple[str, ...] = (),
        retrieved: tuple[int, ...] = (1, 2),
    ) -> Trajectory:
        resolved = [catalog.resolve(line) for line in lines]
        return Trajectory(
            user_id="7",
            prompt_ids=(1,),
            response_ids=(2, 3),
            loss_mask=(1, 1),
            logprobs=(-0.1, -0.2),
            prompt="",
            response="",
            turns=tuple(Turn("thought", p, retrieved if p else ()) for p in preferences),
            lines=tuple(lines),
            ranking=tuple(dict.fromkeys(item for item in resolved if item)),
            stop_reason=stop,
            format_errors=errors,
        )

    return build
