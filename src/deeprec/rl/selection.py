"""Which RL examples are worth training on, and which stage gets them (paper: data selection)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deeprec.config import SelectionConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.stages import COLD_START
from deeprec.trm.base import Retriever
from deeprec.trm.ranking import catalogue_ranks
from deeprec.types import Example


@dataclass(frozen=True)
class Selection:
    """Two pools that share no user, and how many examples were found, kept and dropped."""

    cold_start: tuple[Example, ...]
    recommendation: tuple[Example, ...]
    found: int
    too_hard: int

    def pool(self, stage: str) -> tuple[Example, ...]:
        """The examples of a stage; raises TrainingError when it was left without any."""
        pool = self.cold_start if stage == COLD_START else self.recommendation
        if not pool:
            raise TrainingError(
                f"no examples for stage '{stage}': {self.counts}; "
                "change selection.stage_one_share, or raise selection.max_rank"
            )
        return pool

    @property
    def counts(self) -> dict[str, int]:
        """What the log should say of it."""
        return {
            "examples": self.found,
            "too_hard": self.too_hard,
            "cold_start_examples": len(self.cold_start),
            "recommendation_examples": len(self.recommendation),
        }


def select(dataset: Dataset, retriever: Retriever, config: SelectionConfig, seed: int) -> Selection:
    """Drop RL targets that the TRM ranks below `max_rank`; share the rest out by user.

    A target that the TRM has no idea of is found by chance alone, and rewards nothing that could be learned.
    All examples of a user go to one stage, so that no user's tastes are met in both. Users
    are shuffled by the seed; stage 1 takes whole users until it holds its share of the
    examples. The order within a pool is by that shuffle, then by time. Raises
    TrainingError when nothing is left.
    """
    examples = dataset.examples("rl")
    if not examples:
        raise TrainingError(
            f"data set '{dataset.name}' has no RL targets; prepare it with data.rl_targets of at least 1"
        )
    ranks = catalogue_ranks(retriever, examples, dataset=dataset)
    kept = [example for example, rank in zip(examples, ranks, strict=True) if rank <= config.max_rank]
    if not kept:
        raise TrainingError(
            f"the TRM ranks none of {len(examples)} RL targets in its top {config.max_rank} "
            f"(the best stands at {int(ranks.min())}); raise selection.max_rank or train the TRM longer"
        )
    first, second = _share_out(kept, config.stage_one_share, seed)
    return Selection(first, second, found=len(examples), too_hard=len(examples) - len(kept))


def _share_out(
    examples: list[Example], share: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    by_user: dict[str, list[Example]] = {}
    for example in examples:
        by_user.setdefault(example.user_id, []).append(example)
    users = sorted(by_user)  # the order of the source must not decide who is in which stage
    order = np.random.default_rng(seed).permutation(len(users))
    first: list[Example] = []
    second: list[Example] = []
    for position in order:
        mine = by_user[users[position]]
        # The halfway rule keeps the share as near as whole users allow, and exact at 0 and 1.
        pool = first if len(first) + len(mine) / 2 < share * len(examples) else second
        pool.extend(mine)
    return tuple(first), tuple(second)
