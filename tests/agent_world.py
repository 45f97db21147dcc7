"""What trajectories of the small world are worth: rewards that tests of agents share."""

from __future__ import annotations

import numpy as np
from small_world import build_dataset, settings

from deeprec.rewards.mixture import RewardSpace
from deeprec.trm.text import LsaEncoder

WEIGHTS = {"format": 1.0, "invocation": 0.5, "hit": 1.0, "rank": 1.0}


def space() -> RewardSpace:
    """Vectors of the labels alone; no item vectors."""
    catalog = build_dataset().catalog
    texts = [item.label for item in catalog.items]
    encoder = LsaEncoder.fit(texts, 8)
    vectors = np.concatenate([np.zeros((1, encoder.dim), np.float32), encoder.encode(texts)])
    return RewardSpace(catalog, encoder, vectors, None, settings().recommended)


SPACE = space()
