"""The rows of `deeprec bench trm`: training and retrieval of the TRM, beside peers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deeprec.bench.data import made_up_dataset
from deeprec.bench.peers import Peers
from deeprec.bench.retrieval import approximate_rows, exact_rows
from deeprec.bench.rows import Row
from deeprec.bench.training import training_rows
from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError

PARTS = ("training", "exact", "approximate")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    users: int = 1500  # of the made-up data
    items: int = 3416
    exact_items: int = 25_000
    approximate_items: int = 1_000_000
    rounds: int = 3


def trm_rows(
    config: TRMConfig,
    peers: Peers,
    *,
    dataset: Dataset | None = None,
    sizes: Sizes | None = None,
    parts: tuple[str, ...] = PARTS,
    seed: int = 0,
) -> Iterator[Row]:
    """Rows as they are measured; `dataset` None: made-up data of the given sizes.

    Raises ConfigError for an unknown part.
    """
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"--only '{part}': choose among {', '.join(PARTS)}")
    chosen = sizes or Sizes()
    rounds, width = chosen.rounds, config.width
    if "training" in parts:
        data = dataset or made_up_dataset(chosen.users, chosen.items, seed)
        yield from training_rows(data, config, peers, rounds=rounds, seed=seed)
    if "exact" in parts:
        yield from exact_rows(chosen.exact_items, width, peers, rounds=rounds, seed=seed)
    if "approximate" in parts:
        yield from approximate_rows(chosen.approximate_items, width, peers, rounds=rounds, seed=seed)
