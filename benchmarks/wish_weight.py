"""What `wishes.weight` trades: lists of who says a true wish, and of who says a misleading one.

python benchmarks/wish_weight.py RUN [--part validation] [--sentences validation] [--users 300] [--weights 0 0.5 1 2]

The run's last policy explores once for each wish; then the list is made anew with each weight, as `rollout/masked.py`
makes it with `wishes.weight`. Prints NDCG@10 over all kinds of true wishes and over misleading ones, and the share of
listed items that bear what a user excluded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from deeprec.data.dataset import Dataset
from deeprec.evaluation.evaluate import choose_examples
from deeprec.evaluation.wishes import MISLEADING, Asked, ask_all, row_of
from deeprec.pipeline import build_deeprec, load_stages
from deeprec.policy.loading import load_policy
from deeprec.rl.list_prior import gather_evidence
from deeprec.rollout.list_prior import ListPrior, prior_of
from deeprec.rollout.masked import Evidence
from deeprec.run import Run


def ranking(known: Evidence | None, weights: ListPrior, size: int) -> list[int]:
    """The likeliest list; none where no list was opened."""
    if known is None:
        return []
    order = np.argsort(-(known.likelihood + known.prior(weights)), kind="stable")[:size]
    return [known.pool[place] for place in order]


def figures(
    asked: Sequence[Asked],
    evidence: Sequence[Sequence[Evidence | None]],
    weights: ListPrior,
    dataset: Dataset,
) -> tuple[float, float, float]:
    """NDCG@10 with true and with misleading wishes; the share of listed items that bear what was excluded."""
    gains: dict[bool, list[float]] = {True: [], False: []}
    broken: list[float] = []
    for one, found in zip(asked, evidence, strict=True):
        is_true = one.kind != MISLEADING
        for example, wish, known in zip(one.examples, one.wishes, found, strict=True):
            gain, _, listed = row_of(ranking(known, weights, 10), example.target, wish, dataset)
            gains[is_true].append(gain)
            broken += [listed] if is_true else []
    return float(np.mean(gains[True])), float(np.mean(gains[False])), float(np.nanmean(broken))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--sentences", choices=("validation", "held-out", "new-words"), default="validation")
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.25, 0.5, 1.0, 2.0])
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    dataset, trm = load_stages(run)
    examples, _ = choose_examples(dataset, arguments.part, arguments.users, 0)
    asked = ask_all(dataset, examples, arguments.sentences)
    environment = build_deeprec(run, dataset, trm).environment
    evidence = [gather_evidence(environment, one.examples)[0] for one in asked]
    learned = prior_of(load_policy(str(run.last_policy()), run.config.policy).model, wished=True)
    print("| `wishes.weight` | true wishes | misleading | listed, though excluded |\n|---:|---:|---:|---:|")
    for weight in arguments.weights:
        weights = replace(learned, asked=weight * learned.asked)
        true, misleading, broken = figures(asked, evidence, weights, dataset)
        print(f"| {weight:g} | {true:.4f} | {misleading:.4f} | {100 * broken:.1f} % |")


if __name__ == "__main__":
    main()
