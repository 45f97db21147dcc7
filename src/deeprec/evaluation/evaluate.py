"""Held-out evaluation: the same users for every recommender, over the whole catalogue.

Every user counts. A failed trajectory is an empty ranking, and so a miss. Users are put in
the order of their ids first, so that nothing depends on the order in which they came.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from deeprec import metrics
from deeprec.config import EvaluationConfig
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.errors import EvaluationError
from deeprec.evaluation.asking import Asking, AskingHere
from deeprec.evaluation.behaviour import describe_behaviour
from deeprec.evaluation.beyond import Yardstick, coverage, padded
from deeprec.evaluation.comparison import Columns, Comparison, compare_methods
from deeprec.evaluation.per_user import RewardFunction, answer_columns, counted_ranking, trajectories_of
from deeprec.evaluation.slices import Masks, slice_masks, slice_summaries
from deeprec.evaluation.summary import EvaluationSummary, MethodSummary
from deeprec.methods import BASELINES
from deeprec.recommender import Recommendation, Recommender
from deeprec.trm.base import Retriever, TextEncoder
from deeprec.trm.left import sizes_left
from deeprec.types import Example, Trajectory

SampledFunction = Callable[[Recommender, Sequence[Example]], Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class EvaluationResult:
    """A summary and what it was made from, user by user.

    `per_user[method][metric]` is (U,), in the order of `examples` (by user id); so are the slices' `masks`.
    """

    summary: EvaluationSummary
    examples: tuple[Example, ...]
    per_user: dict[str, Columns]
    recommendations: dict[str, tuple[Recommendation, ...]]
    masks: Masks

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
    users: Sequence[str] | None = None,
    retriever: Retriever | None = None,
    encoder: TextEncoder | None = None,
    text_vectors: NDArray[np.float32] | None = None,
    rewards: RewardFunction | None = None,
    sampled: SampledFunction | None = None,
    baselines: Sequence[str] | None = None,
    asking: Asking | None = None,
) -> EvaluationResult:
    """Rank for every user of `part` (or a sample, or those named `users`) with every recommender, and compare.

    `retriever` is the TRM that pools are held against, `encoder` embeds preferences,
    `text_vectors` (n_items + 1, D) measure the diversity of lists (None: categories do),
    `rewards` gives the reward parts of trajectories as columns, `sampled` further columns of
    a recommender that can sample (none for another). `asking` asks the recommenders (None: here,
    batch by batch). Differences are taken to
    each of `baselines` (None: to `BASELINES`, as far as they are evaluated).
    Raises EvaluationError for an empty part, two methods of one name, an unknown baseline,
    or a recommender that answers wrongly or fills in for a failed policy.
    """
    names = [recommender.name for recommender in recommenders]
    chosen = _check_names(names, baselines)
    if users is None:
        examples, is_sample = choose_examples(dataset, part, config.max_users, seed)
    else:
        examples, is_sample = named_examples(dataset, part, users), True
    yardstick = Yardstick.of(dataset, text_vectors, "text" if encoder is None else encoder.fingerprint)
    recommendations, seconds = _recommend_all(recommenders, examples, dataset, k, asking or AskingHere())
    per_user = {
        name: answer_columns(found, examples, k, yardstick, rewards)
        for name, found in recommendations.items()
    }
    if sampled is not None:
        for recommender in recommenders:
            per_user[recommender.name] |= sampled(recommender, examples)
    pairs = [(name, other) for name in names for other in chosen if other != name]
    found = compare_methods(per_user, pairs, config.bootstrap, config.permutations, seed)
    setting = _Setting(dataset, examples, retriever, encoder, k, config.bootstrap, seed)
    everyone, _ = choose_examples(dataset, part, None, seed)
    masks = slice_masks(examples, everyone, yardstick)
    summary = EvaluationSummary(
        dataset=dataset.name,
        protocol=str(dataset.protocol),
        part=part,
        users=len(examples),
        sampled=is_sample,
        without_target=_without_target(dataset, part, users),
        few_left=_few_left(dataset, examples, k),
        items=dataset.catalog.n_items,
        k=k,
        targets=targets_hash(dataset, part, examples, is_sample),
        part_targets=targets_hash(dataset, part, everyone, True),
        seed=seed,
        resamples=config.bootstrap,
        permutations=config.permutations,
        comparisons=found.family,
        diversity_space=yardstick.space,
        popularity_base=yardstick.base,
        slices=slice_summaries(masks, per_user, config.bootstrap, seed),
        methods={
            name: _method_summary(setting, name, recommendations[name], found, seconds[name])
            for name in names
        },
        minutes=sum(seconds.values()) * len(examples) / 60,
    )
    return EvaluationResult(summary, tuple(examples), per_user, recommendations, masks)


@dataclass(frozen=True)
class _Setting:
    """What every method of one evaluation shares."""

    dataset: Dataset
    examples: Sequence[Example]
    retriever: Retriever | None
    encoder: TextEncoder | None
    k: int
    resamples: int
    seed: int


def _method_summary(
    setting: _Setting,
    name: str,
    recommendations: Sequence[Recommendation],
    found: Comparison,
    seconds: float,
) -> MethodSummary:
    trajectories = trajectories_of(recommendations)
    behaviour = None
    if trajectories:
        behaviour = describe_behaviour(
            trajectories,
            setting.examples,
            setting.dataset,
            setting.retriever,
            setting.encoder,
            setting.resamples,
            setting.seed,
        )
    lists = padded([counted_ranking(answer) for answer in recommendations], setting.k)
    return MethodSummary(
        name=name,
        metrics=found.metrics[name],
        differences=found.differences[name],
        coverage=coverage(lists, setting.dataset.catalog.n_items),
        seconds_per_user=seconds,
        behaviour=behaviour,
    )


def choose_examples(
    dataset: Dataset, part: TargetPart, max_users: int | None, seed: int
) -> tuple[list[Example], bool]:
    """The examples of `part` by user id, and whether they are a sample.

    A sample takes the examples whose seeded hash is smallest: the same users whatever the
    order of the data, and a larger sample contains the smaller ones.
    """
    if dataset.withheld:
        raise EvaluationError(f"{dataset.without_users()}; there is nobody to evaluate")
    examples = dataset.examples(part)
    if not examples:
        raise EvaluationError(f"data set '{dataset.name}': part '{part}' has no targets, nothing to evaluate")
    sampled = max_users is not None and max_users < len(examples)
    if sampled:
        examples = sorted(examples, key=lambda e: (_draw(seed, e), e.user_id))[:max_users]
    return sorted(examples, key=lambda e: e.user_id), sampled


def named_examples(dataset: Dataset, part: TargetPart, users: Sequence[str]) -> list[Example]:
    """The examples of these users, by user id; those without a target in `part` have none.

    Raises DataError for a user that the data set lacks, naming the nearest, and EvaluationError when
    none of them has a target.
    """
    for user in users:
        dataset.known_history(user)  # refuses an unknown one
    asked = set(users)
    examples = [example for example in dataset.examples(part) if example.user_id in asked]
    if not examples:
        raise EvaluationError(
            f"no target in part '{part}' for {', '.join(map(repr, users))}: nothing to evaluate; "
            "name users who have one, or another part"
        )
    return sorted(examples, key=lambda e: e.user_id)


def _draw(seed: int, example: Example) -> bytes:
    return sha256(f"{seed}\x1f{example.user_id}\x1f{len(example.history)}".encode()).digest()


def _check_names(names: Sequence[str], baselines: Sequence[str] | None) -> list[str]:
    if not names:
        raise EvaluationError("no recommender to evaluate; name at least one")
    if len(set(names)) < len(names):
        raise EvaluationError(f"two recommenders of one name: {', '.join(names)}; give them distinct names")
    if baselines is None:
        return [name for name in BASELINES if name in names]
    for name in baselines:
        if name not in names:
            raise EvaluationError(f"baseline '{name}' is not among the evaluated: {', '.join(names)}")
    return list(baselines)


def _recommend_all(
    recommenders: Sequence[Recommender], examples: Sequence[Example], dataset: Dataset, k: int, asking: Asking
) -> tuple[dict[str, tuple[Recommendation, ...]], dict[str, float]]:
    """Recommendations and seconds per user, by method."""
    found: dict[str, tuple[Recommendation, ...]] = {}
    seconds: dict[str, float] = {}
    for recommender in recommenders:
        started = time.perf_counter()
        answers = asking.answers(recommender, examples, k)
        _check_answers(recommender.name, answers, examples, dataset)
        found[recommender.name] = tuple(answers)
        seconds[recommender.name] = (time.perf_counter() - started) / len(examples)
    return found, seconds


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


def _without_target(dataset: Dataset, part: TargetPart, users: Sequence[str] | None) -> list[str]:
    asked = set(dataset.user_ids if users is None else users)
    return sorted(asked - {example.user_id for example in dataset.examples(part)})


def _few_left(dataset: Dataset, examples: Sequence[Example], k: int) -> list[str]:
    sizes = sizes_left(k, dataset.catalog.n_items, [dataset.exclusions(example) for example in examples])
    return [example.user_id for example, size in zip(examples, sizes, strict=True) if size < k]


def targets_hash(dataset: Dataset, part: TargetPart, examples: Sequence[Example], sampled: bool) -> str:
    """Hash of the evaluated (user, target) pairs; of the whole part where the examples are no sample of it."""
    if not sampled:
        return dataset.targets_hash(part)
    digest = sha256()
    for example in examples:
        digest.update(f"{example.user_id}\x1f{dataset.catalog[example.target].item_id}\x1e".encode())
    return digest.hexdigest()[:16]
