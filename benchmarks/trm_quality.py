"""How good a run's TRM is, and what preferences do to it, as rows with a peer each.

The peers are popularity, item-kNN and the plain TRM, measured in the same run on the same
users. Preferences about the target are oracles: they show what text can do, not what the
TRM can do alone. `from the history` asks for phrases of an item the user already had, which
is the least that a policy can do.

    deeprec data prepare ml-100k --source ml-100k.zip --run runs/ml-100k
    deeprec trm fit --run runs/ml-100k
    python benchmarks/trm_quality.py --run runs/ml-100k --part validation --json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from deeprec.bench.rows import Row, make_row, row_text
from deeprec.data.dataset import Dataset
from deeprec.data.stage import load_data
from deeprec.run import Run
from deeprec.trm.quality import compare, draw_preferences, pool_recall, steering_overlap
from deeprec.trm.retriever import TRM
from deeprec.trm.stage import load_trm


def quality_rows(trm: TRM, dataset: Dataset, part: str, seed: int) -> list[Row]:
    """Accuracy beside the baselines, and with each kind of preference beside the plain TRM."""
    found = {row.method: row for row in compare(trm, dataset, part, seed)}
    plain = found["trm"]
    rows = [
        make_row("trm", plain.ndcg_at_10, "ndcg@10", peer, found[peer].ndcg_at_10)
        for peer in ("popularity", "item-knn")
    ]
    for method in ("trm + true phrase", "trm + wrong phrase", "trm + unknown words"):
        row = found[method]
        rows.append(make_row(method, row.ndcg_at_10, "ndcg@10", "trm", plain.ndcg_at_10))
        rows.append(make_row(method, row.median_rank, "median rank", "trm", plain.median_rank))
    return rows


def pool_rows(trm: TRM, dataset: Dataset, part: str, seed: int) -> list[Row]:
    """Recall of the union of several retrievals of 20 beside the plain list of the same size."""
    examples = [example for example in dataset.examples(part) if example.history]
    rng = np.random.default_rng(seed)
    drawn = [
        draw_preferences(dataset, [int(rng.choice(example.history)) for example in examples], rng)
        for _ in range(3)
    ]
    true = draw_preferences(dataset, [example.target for example in examples], rng)
    none = [None] * len(examples)
    plain = {turns: pool_recall(trm, dataset, examples, [none] * turns) for turns in (1, 2, 3, 4)}
    rows = [
        make_row(
            f"pool of {turns}: plain, then from the history",
            pool_recall(trm, dataset, examples, [none, *drawn[: turns - 1]]),
            f"recall of {20 * turns}",
            f"plain top {20 * turns}",
            plain[turns],
        )
        for turns in (2, 3, 4)
    ]
    value = pool_recall(trm, dataset, examples, [none, true])
    rows.append(
        make_row("pool of 2: plain, then a true phrase", value, "recall of 40", "plain top 40", plain[2])
    )
    overlap = steering_overlap(trm, dataset, examples, 20, seed)
    rows.append(make_row("two different preferences", overlap, "overlap of top 20", "same list", 1.0))
    return rows


def main() -> None:
    """Print one row a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="a run whose TRM is fitted")
    parser.add_argument("--part", choices=["validation", "test", "rl"], default="validation")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    run = Run.open(options.run)
    dataset = load_data(run)
    trm = load_trm(run, dataset)
    seed = run.config.seed
    rows = quality_rows(trm, dataset, options.part, seed) + pool_rows(trm, dataset, options.part, seed)
    for row in rows:
        print(json.dumps(asdict(row)) if options.json else row_text(row))


if __name__ == "__main__":
    main()
