"""How the final list is best made: written by the policy, by likelihood, constrained, or of several rollouts.

The same policy, the same users, the whole catalogue. NDCG@10 with the difference to `generate` and
its 95% bootstrap interval over users, validity, and seconds a user (one process, as the machine was).

    deeprec quickstart --preset ml-100k --source ml-100k.zip --run runs/ml-100k
    python benchmarks/ranking_modes.py --run runs/ml-100k --modes generate score constrained generate:4 score:4
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeprec import metrics
from deeprec.config import InferenceConfig
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.evaluation.bootstrap import paired_differences
from deeprec.evaluation.evaluate import choose_examples
from deeprec.evaluation.per_user import counted_ranking
from deeprec.evaluation.results import rerun_command
from deeprec.evaluation.tables import Cell, FigureTable, write_table
from deeprec.pipeline import build_deeprec, load_stages
from deeprec.recommender import Recommender
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.run import Run, environment
from deeprec.types import Example

COLUMNS = (
    "list", "rollouts", "NDCG@10", "minus generate", "low", "high", "Recall@10", "valid", "ms a user",
)  # fmt: skip
_RESAMPLES = 2000


def measure(
    recommender: Recommender, examples: Sequence[Example]
) -> tuple[dict[str, np.ndarray], float, float]:
    """Ranking metrics (U,) of each user, share of valid answers, and seconds a user."""
    started = time.perf_counter()
    found = recommender.recommend(examples, metrics.CUT)
    seconds = (time.perf_counter() - started) / len(examples)
    rankings = [counted_ranking(answer) for answer in found]
    columns = metrics.ranking_metrics(rankings, [example.target for example in examples])
    valid = [answer.trajectory is not None and answer.trajectory.is_valid for answer in found]
    return columns, float(np.mean(valid)), seconds


def table_rows(
    policy: DeepRecRecommender, examples: Sequence[Example], modes: Sequence[str]
) -> list[tuple[Cell, ...]]:
    """One row a mode, such as `score` or `score:4`; the first is what the others are held against."""
    rows: list[tuple[Cell, ...]] = []
    base = None
    for mode in modes:
        ranking, _, count = mode.partition(":")
        inference = InferenceConfig.model_validate({"ranking": ranking, "rollouts": int(count or 1)})
        recommender = DeepRecRecommender(policy.name, policy.environment, inference=inference)
        columns, valid, seconds = measure(recommender, examples)
        ndcg = columns["ndcg@10"]
        base = ndcg if base is None else base
        gain = paired_differences(ndcg[:, None], base[:, None], _RESAMPLES, 0)[0]
        figures = (gain.mean, gain.low, gain.high)
        rows.append(
            (ranking, inference.rollouts, round(float(ndcg.mean()), 4), *(round(value, 4) for value in figures),
             round(float(columns["recall@10"].mean()), 4), round(valid, 4), round(1000 * seconds, 1))
        )  # fmt: skip
        print(*rows[-1], sep="\t", flush=True)
    return rows


def main() -> None:
    """Print one row a mode; with --out write the table of the results page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a trained run")
    parser.add_argument("--stage", help="policy after this stage [default: the last one]")
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--users", type=int, help="a random sample of so many users")
    parser.add_argument("--modes", nargs="+", default=["generate", "score", "constrained"],
                        help="generate, score or constrained, with :N for N sampled rollouts")  # fmt: skip
    parser.add_argument("--out", type=Path, help="file of the table, such as results/tables/NAME.json")
    options = parser.parse_args()
    run = Run.open(options.run)
    dataset, trm = load_stages(run)
    part: TargetPart = options.part
    examples, _ = choose_examples(dataset, part, options.users, 0)
    policy = build_deeprec(run, dataset, trm, options.stage)
    print(*COLUMNS, sep="\t")
    rows = table_rows(policy, examples, options.modes)
    if options.out:
        write_table(options.out, _table(options, run, dataset, part, len(examples), rows))


def _table(
    options: argparse.Namespace,
    run: Run,
    dataset: Dataset,
    part: TargetPart,
    users: int,
    rows: list[tuple[Cell, ...]],
) -> FigureTable:
    made = environment()
    words = [
        f"python benchmarks/ranking_modes.py --run RUN --modes {' '.join(options.modes)}",
        *([f"--part {part}"] if part != "test" else []),
        *([f"--users {options.users}"] if options.users else []),
    ]
    return FigureTable(
        dataset=dataset.name,
        title="How the list is made",
        note="One policy and the same users. Several rollouts are sampled, and their lists merged by reciprocal rank.",
        part=part,
        targets=dataset.targets_hash(part),
        users=users,
        seed=run.config.seed,
        columns=COLUMNS,
        rows=tuple(rows),
        command="\n".join((rerun_command(run.config), " ".join(words))),
        machine=made["machine"],
        commit=made["commit"],
        versions=made["versions"],
    )


if __name__ == "__main__":
    main()
