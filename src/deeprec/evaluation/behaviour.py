"""What trajectories tell besides the ranking: validity, turns, preferences, and the pool."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.evaluation.bootstrap import paired_differences
from deeprec.evaluation.summary import Behaviour, Dependence, PoolTurn
from deeprec.evaluation.thoughts import distinct_within, true_thoughts
from deeprec.metrics import ranks_in_lists
from deeprec.rewards.process import DIVERSITY_SCALE, diversity_reward, preferences_of
from deeprec.trm.base import Retriever, TextEncoder
from deeprec.trm.left import retrieve_left
from deeprec.types import Example, Trajectory

_USERS_PER_CALL = 256  # bounds a call's memory


def policy_columns(
    trajectories: Sequence[Trajectory], examples: Sequence[Example]
) -> dict[str, NDArray[np.float64]]:
    """Per-user columns (U,): `validity`, `retrievals`, `tokens`, and `pool_recall` over all turns."""
    pairs = list(zip(trajectories, examples, strict=True))
    return {
        "validity": np.array([float(t.is_valid) for t in trajectories]),
        "retrievals": np.array([float(len(preferences_of(t))) for t in trajectories]),
        "tokens": np.array([float(sum(t.loss_mask)) for t in trajectories]),
        "pool_recall": np.array([float(example.target in set(t.pool)) for t, example in pairs]),
    }


def describe_behaviour(
    trajectories: Sequence[Trajectory],
    examples: Sequence[Example],
    dataset: Dataset,
    retriever: Retriever | None,
    encoder: TextEncoder | None,
    resamples: int,
    seed: int,
) -> Behaviour:
    """Counts and pool of one policy; without a retriever no pool, without an encoder no diversity."""
    diversities = preference_diversities(trajectories, encoder) if encoder else np.array([])
    known = diversities[~np.isnan(diversities)]
    turns = Counter(len(preferences_of(t)) for t in trajectories)
    errors = Counter(error for t in trajectories for error in set(t.format_errors))
    return Behaviour(
        stop_reasons=dict(Counter(str(t.stop_reason) for t in trajectories).most_common()),
        turns=dict(sorted(turns.items())),
        format_errors=dict(sorted(errors.items(), key=lambda entry: (-entry[1], entry[0]))),
        diversity=float(known.mean()) if len(known) else None,
        diversity_users=len(known),
        dependence=preference_dependence(trajectories),
        pool=pool_by_turn(trajectories, examples, dataset, retriever, resamples, seed) if retriever else [],
        true_thoughts=true_thoughts(trajectories, examples, dataset.catalog),
        distinct_within=distinct_within(trajectories),
    )


def preference_diversities(trajectories: Sequence[Trajectory], encoder: TextEncoder) -> NDArray[np.float64]:
    """1 - mean pairwise cosine of each trajectory's preferences (U,); NaN below two preferences.

    The same measure as the diversity reward, without its scale.
    """
    texts = [preferences_of(t) for t in trajectories]
    if not any(texts):
        return np.full(len(texts), np.nan)
    vectors = np.asarray(encoder.encode([text for group in texts for text in group]), dtype=np.float64)
    groups = np.split(vectors, np.cumsum([len(group) for group in texts])[:-1])  # each (m, D)
    return np.array([diversity_reward(g) / DIVERSITY_SCALE if len(g) > 1 else np.nan for g in groups])


def preference_dependence(trajectories: Sequence[Trajectory]) -> Dependence | None:
    """How the users' preferences are spread; case and spacing don't tell two preferences apart."""
    written = [" | ".join(_normal(text) for text in preferences_of(t)) for t in trajectories]
    counts = Counter(text for text in written if text)
    users = counts.total()
    if not users:
        return None
    shares = np.array(sorted(counts.values()), dtype=np.float64) / users
    # Ties go to the text that sorts first, so that the order of users changes nothing.
    commonest = min(counts, key=lambda text: (-counts[text], text))
    return Dependence(
        users=users,
        distinct=len(counts),
        commonest=commonest,
        commonest_share=counts[commonest] / users,
        entropy=abs(float(-(shares * np.log2(shares)).sum())),
        ceiling=math.log2(users),
    )


def _normal(text: str) -> str:
    return "; ".join(part for part in (" ".join(p.split()) for p in text.casefold().split(";")) if part)


def pool_by_turn(
    trajectories: Sequence[Trajectory],
    examples: Sequence[Example],
    dataset: Dataset,
    retriever: Retriever,
    resamples: int,
    seed: int,
) -> list[PoolTurn]:
    """The pool after each turn against the TRM's plain top of the same size, over all users."""
    last = max((len(t.turns) for t in trajectories), default=0)
    targets = [example.target for example in examples]
    hits = np.zeros((last, len(examples)))
    sizes = np.zeros((last, len(examples)), dtype=np.int64)
    for user, trajectory in enumerate(trajectories):
        pool: set[int] = set()
        for turn in range(last):
            if turn < len(trajectory.turns):
                pool.update(trajectory.turns[turn].retrieved)
            hits[turn, user] = targets[user] in pool
            sizes[turn, user] = len(pool)
    plain = plain_ranks(retriever, dataset, examples, int(sizes.max(initial=0)))
    found = []
    for turn in range(last):
        # Each user's own size: one plain top for all would be long for those who asked once, short for the others.
        matched = ((plain > 0) & (plain <= sizes[turn])).astype(np.float64)
        size = float(sizes[turn].mean())
        gain = paired_differences(hits[turn][:, None], matched[:, None], resamples, seed)[0]
        found.append(
            PoolTurn(
                turn=turn + 1,
                recall=float(hits[turn].mean()),
                size=size,
                plain_recall=float(((plain > 0) & (plain <= round(size))).mean()),
                matched_recall=float(matched.mean()),
                gain=gain,
            )
        )
    return found


def plain_ranks(
    retriever: Retriever, dataset: Dataset, examples: Sequence[Example], depth: int
) -> NDArray[np.int64]:
    """Rank (U,) of each target in the TRM's plain ranking, 0 below `depth`; no preference is given."""
    ranks = np.zeros(len(examples), dtype=np.int64)
    for start in range(0, len(examples), _USERS_PER_CALL):
        batch = examples[start : start + _USERS_PER_CALL]
        excluded = [dataset.exclusions(example) for example in batch]
        found = retrieve_left(retriever, [e.history for e in batch], None, depth, excluded)
        targets = [example.target for example in batch]
        ranks[start : start + len(batch)] = ranks_in_lists([one.items for one in found], targets, cut=depth)
    return ranks
