"""Held-out evaluation: the same users for every recommender, over the whole catalogue.

Every user counts. A failed trajectory is an empty ranking, and so a miss. Users are put in
the order of their ids first, so that nothing depends on the order in which they came.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from deeprec import metrics
from deeprec.config import EvaluationConfig
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.errors import EvaluationError
from deeprec.evaluation.behaviour import describe_behaviour, policy_columns
from deeprec.evaluation.bootstrap import Difference, mean_intervals, paired_differences
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary
from deeprec.progress import progress_bar
from deeprec.recommender import Recommendation, Recommender
from deeprec.rewards.process import preferences_of
from deeprec.trm.base import Retriever, TextEncoder
from deeprec.types import Example, Trajectory

Columns = dict[str, NDArray[np.float64]]
RewardFunction = Callable[[Sequence[Trajectory], Sequence[Example]], Mapping[str, NDArray[np.float64]]]
SampledFunction = Callable[[Recommender, Sequence[Example]], Mapping[str, NDArray[np.float64]]]

PROTOCOL = "leave-one-out by time, whole catalogue"
_BASELINES = ("trm", "trm-dated", "trm-refit", "warm_start")
_USERS_PER_CALL = 512


@dataclass(frozen=True)
class EvaluationResult:
    """A summary and what it was made from, user by user.

    `per_user[method][metric]` is (U,), in the order of `examples` (by user id).
    """

    summary: EvaluationSummary
    examples: tuple[Example, ...]
    per_user: dict[str, Columns]
    recommendations: dict[str, tuple[Recommendation, ...]]

    def trajectories(self, method: str) -> tuple[Trajectory, ...]:
        """The method's trajectories in the order of `examples`; empty for one without."""
        return tuple(r.trajectory for r in self.recommendations[method] if r.trajectory is not None)


def evaluate(
    recommenders: Sequence[Recommender],
    dataset: Dataset,
    part: TargetPart,
    config: EvaluationConfig,
    seed: int,
    *,
    k: int = metrics.CUT,
    retriever: Retriever | None = None,
    encoder: TextEncoder | None = None,
    rewards: RewardFunction | None = None,
    sampled: SampledFunction | None = None,
    baselines: Sequence[str] | None = None,
) -> EvaluationResult:
    """Rank for every user of `part` (or a sample) with every recommender, and compare.

    `retriever` is the TRM that pools are held against, `encoder` embeds preferences,
    `rewards` gives the reward parts of trajectories as columns, `sampled` further columns of
    a recommender that can sample (none for another). Differences are taken to
    each of `baselines` (None: to `trm`, `trm-dated`, `trm-refit` and `warm_start`, as far as they are evaluated).
    Raises EvaluationError for an empty part, two methods of one name, an unknown baseline,
    or a recommender that answers wrongly or fills in for a failed policy.
    """
    names = [recommender.name for recommender in recommenders]
    chosen = _check_names(names, baselines)
    examples, is_sample = choose_examples(dataset, part, config.max_users, seed)
    recommendations, seconds = _recommend_all(recommenders, examples, dataset, k)
    per_user = {name: _columns(found, examples, k, rewards) for name, found in recommendations.items()}
    if sampled is not None:
        for recommender in recommenders:
            per_user[recommender.name] |= sampled(recommender, examples)
    setting = _Setting(dataset, examples, retriever, encoder, config.bootstrap, seed)
    summary = EvaluationSummary(
        dataset=dataset.name,
        protocol=PROTOCOL,
        part=part,
        users=len(examples),
        sampled=is_sample,
        without_target=_without_target(dataset, part),
        items=dataset.catalog.n_items,
        k=k,
        targets=_targets_hash(dataset, part, examples, is_sample),
        seed=seed,
        resamples=config.bootstrap,
        methods={
            name: _method_summary(setting, name, recommendations[name], per_user, chosen, seconds[name])
            for name in names
        },
        minutes=sum(seconds.values()) * len(examples) / 60,
    )
    return EvaluationResult(summary, tuple(examples), per_user, recommendations)


@dataclass(frozen=True)
class _Setting:
    """What every method of one evaluation shares."""

    dataset: Dataset
    examples: Sequence[Example]
    retriever: Retriever | None
    encoder: TextEncoder | None
    resamples: int
    seed: int


def _method_summary(
    setting: _Setting,
    name: str,
    recommendations: Sequence[Recommendation],
    per_user: Mapping[str, Columns],
    baselines: Sequence[str],
    seconds: float,
) -> MethodSummary:
    own, resamples, seed = per_user[name], setting.resamples, setting.seed
    intervals = mean_intervals(np.stack(list(own.values()), axis=1), resamples, seed)
    trajectories = _trajectories(recommendations)
    behaviour = None
    if trajectories:
        behaviour = describe_behaviour(
            trajectories,
            setting.examples,
            setting.dataset,
            setting.retriever,
            setting.encoder,
            resamples,
            seed,
        )
    return MethodSummary(
        name=name,
        metrics=dict(zip(own, intervals, strict=True)),
        differences={
            other: compare(own, per_user[other], resamples, seed) for other in baselines if other != name
        },
        seconds_per_user=seconds,
        behaviour=behaviour,
    )


def compare(own: Columns, baseline: Columns, resamples: int, seed: int) -> dict[str, Difference]:
    """Paired difference of every column that both have; users must be the same, row by row."""
    shared = [name for name in own if name in baseline]
    if not shared:
        raise EvaluationError("the two methods share no metric")
    left = np.stack([own[name] for name in shared], axis=1)
    right = np.stack([baseline[name] for name in shared], axis=1)
    return dict(zip(shared, paired_differences(left, right, resamples, seed), strict=True))


def counted_ranking(ranking: Sequence[int], trajectory: Trajectory | None) -> Sequence[int]:
    """The ranking that counts: none at all where the trajectory behind it is not valid."""
    return ranking if trajectory is None or trajectory.is_valid else ()


def choose_examples(
    dataset: Dataset, part: TargetPart, max_users: int | None, seed: int
) -> tuple[list[Example], bool]:
    """The examples of `part` by user id, and whether they are a sample.

    A sample takes the examples whose seeded hash is smallest: the same users whatever the
    order of the data, and a larger sample contains the smaller ones.
    """
    examples = dataset.examples(part)
    if not examples:
        raise EvaluationError(f"data set '{dataset.name}': part '{part}' has no targets, nothing to evaluate")
    sampled = max_users is not None and max_users < len(examples)
    if sampled:
        examples = sorted(examples, key=lambda e: (_draw(seed, e), e.user_id))[:max_users]
    return sorted(examples, key=lambda e: e.user_id), sampled


def _draw(seed: int, example: Example) -> bytes:
    return sha256(f"{seed}\x1f{example.user_id}\x1f{len(example.history)}".encode()).digest()


def heldout_evaluator(
    trajectories: Sequence[Trajectory],
    examples: Sequence[Example],
    parts: Mapping[str, NDArray[np.float64]],
    weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Held-out figures of one policy while it trains, as flat names for a log.

    `parts` maps reward parts to values (U,); `weights` mixes them into `heldout/reward`.
    Gives `heldout/` + each ranking metric, validity, retrievals, tokens, pool_recall,
    each reward part, commonest_preference and distinct_preferences.
    """
    columns = _ranking_columns([counted_ranking(t.ranking, t) for t in trajectories], examples, metrics.CUT)
    columns |= policy_columns(trajectories, examples)
    columns |= _reward_columns(parts)
    if weights is not None:
        mixed = [weight * columns[f"reward/{name}"] for name, weight in weights.items()]
        columns["reward"] = np.sum(mixed, axis=0) if mixed else np.zeros(len(examples))
    found = metrics.means(columns)
    found |= _preference_shares(trajectories)
    return {f"heldout/{name}": value for name, value in found.items()}


def _preference_shares(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Share of the commonest, and of the distinct, among all preferences written; 0 without any.

    When everyone is asked the same the former is near 1, the latter near 0.
    """
    counts = Counter(text.casefold() for t in trajectories for text in preferences_of(t))
    written = max(counts.total(), 1)
    return {
        "commonest_preference": max(counts.values(), default=0) / written,
        "distinct_preferences": len(counts) / written,
    }


def _check_names(names: Sequence[str], baselines: Sequence[str] | None) -> list[str]:
    if not names:
        raise EvaluationError("no recommender to evaluate; name at least one")
    if len(set(names)) < len(names):
        raise EvaluationError(f"two recommenders of one name: {', '.join(names)}; give them distinct names")
    if baselines is None:
        return [name for name in _BASELINES if name in names]
    for name in baselines:
        if name not in names:
            raise EvaluationError(f"baseline '{name}' is not among the evaluated: {', '.join(names)}")
    return list(baselines)


def _recommend_all(
    recommenders: Sequence[Recommender], examples: Sequence[Example], dataset: Dataset, k: int
) -> tuple[dict[str, tuple[Recommendation, ...]], dict[str, float]]:
    """Recommendations and seconds per user, by method."""
    found: dict[str, tuple[Recommendation, ...]] = {}
    seconds: dict[str, float] = {}
    for recommender in recommenders:
        started = time.perf_counter()
        found[recommender.name] = _recommend(recommender, examples, dataset, k)
        seconds[recommender.name] = (time.perf_counter() - started) / len(examples)
    return found, seconds


def _recommend(
    recommender: Recommender, examples: Sequence[Example], dataset: Dataset, k: int
) -> tuple[Recommendation, ...]:
    found: list[Recommendation] = []
    with progress_bar(f"Evaluating {recommender.name}", len(examples)) as bar:
        for start in range(0, len(examples), _USERS_PER_CALL):
            batch = examples[start : start + _USERS_PER_CALL]
            answers = recommender.recommend(batch, k)
            _check_answers(recommender.name, answers, batch, dataset)
            found += answers
            bar.advance(len(batch))
    return tuple(found)


def _check_answers(
    name: str, answers: Sequence[Recommendation], examples: Sequence[Example], dataset: Dataset
) -> None:
    if len(answers) != len(examples):
        raise EvaluationError(f"'{name}' gave {len(answers)} answers for {len(examples)} users")
    for answer, example in zip(answers, examples, strict=True):
        # A filled-in ranking is the TRM's, not the method's: counting it would hide failures.
        if answer.reason is not None and answer.ranking:
            raise EvaluationError(
                f"'{name}' let '{answer.source}' fill in for user '{example.user_id}' ({answer.reason}); "
                "evaluate it with fill_in=False"
            )
        for item in answer.ranking:
            if not 1 <= item <= dataset.catalog.n_items:
                raise EvaluationError(f"'{name}' gave unknown item index {item} to user '{example.user_id}'")


def _trajectories(recommendations: Sequence[Recommendation]) -> list[Trajectory]:
    found = [r.trajectory for r in recommendations if r.trajectory is not None]
    if found and len(found) < len(recommendations):
        raise EvaluationError(f"only {len(found)} of {len(recommendations)} answers come with a trajectory")
    return found


def _columns(
    recommendations: Sequence[Recommendation],
    examples: Sequence[Example],
    k: int,
    rewards: RewardFunction | None,
) -> Columns:
    rankings = [counted_ranking(r.ranking, r.trajectory) for r in recommendations]
    columns = _ranking_columns(rankings, examples, k)
    trajectories = _trajectories(recommendations)
    if trajectories:
        columns |= policy_columns(trajectories, examples)
        if rewards is not None:
            columns |= _reward_columns(rewards(trajectories, examples))
    return columns


def _ranking_columns(rankings: Sequence[Sequence[int]], examples: Sequence[Example], k: int) -> Columns:
    return metrics.ranking_metrics([ranking[:k] for ranking in rankings], [e.target for e in examples])


def _reward_columns(parts: Mapping[str, NDArray[np.float64]]) -> Columns:
    return {f"reward/{name}": np.asarray(values, dtype=np.float64) for name, values in parts.items()}


def _without_target(dataset: Dataset, part: TargetPart) -> list[str]:
    return sorted(set(dataset.user_ids) - {example.user_id for example in dataset.examples(part)})


def _targets_hash(dataset: Dataset, part: TargetPart, examples: Sequence[Example], sampled: bool) -> str:
    if not sampled:
        return dataset.targets_hash(part)
    digest = sha256()
    for example in examples:
        digest.update(f"{example.user_id}\x1f{dataset.catalog[example.target].item_id}\x1e".encode())
    return digest.hexdigest()[:16]
