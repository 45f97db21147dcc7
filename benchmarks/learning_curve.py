"""The held-out curve of a run's reinforcement learning, as a table: one row a held-out evaluation.

Greedy trajectories of the same validation users each time; the reward is the stage's own. Beside them
the mean reward of the trajectories that were sampled for training since the row before.

    deeprec quickstart --preset ml-1m --source ml-1m.zip --run runs/ml-1m
    python benchmarks/learning_curve.py --run runs/ml-1m --out results/tables/ml-1m-curve.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deeprec.data.stage import load_data
from deeprec.disk import read_jsonl
from deeprec.evaluation.results import rerun_command
from deeprec.evaluation.tables import Cell, FigureTable, write_table
from deeprec.run import Run, environment

STAGES = ("cold_start", "recommendation")
FIGURES = {
    "held-out NDCG@10": "heldout/ndcg@10",
    "held-out Recall@10": "heldout/recall@10",
    "held-out reward": "heldout/reward",
    "retrievals": "heldout/retrievals",
    "commonest wish": "heldout/commonest_preference",
    "valid": "heldout/validity",
}


def curve(run: Run) -> list[tuple[Cell, ...]]:
    """Rows (stage, iteration, figures..., mean sampled reward, entropy) in the order of training."""
    rows: list[tuple[Cell, ...]] = []
    for stage in STAGES:
        sampled: list[float] = []
        for record in read_jsonl(run.metrics):
            if record.get("stage") != stage:
                continue
            if "reward" in record:
                sampled.append(record["reward"])
            if "heldout/reward" not in record:
                continue
            mean = round(sum(sampled) / len(sampled), 3) if sampled else None
            held_out = (round(record[name], 4) for name in FIGURES.values())
            entropy = round(record["entropy"], 3) if "entropy" in record else None
            rows.append((stage, int(record["step"]), *held_out, mean, entropy))
            sampled = []
    return rows


def main() -> None:
    """Print the rows; with --out write the table of the results page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a trained run")
    parser.add_argument("--out", type=Path, help="file of the table, such as results/tables/NAME.json")
    options = parser.parse_args()
    run = Run.open(options.run)
    columns = ("stage", "iteration", *FIGURES, "sampled reward", "entropy")
    rows = curve(run)
    for row in (columns, *rows):
        print(*row, sep="\t")
    if options.out is None:
        return
    made, dataset = environment(), load_data(run)
    table = FigureTable(
        dataset=dataset.name,
        title=f"Learning curve, seed {run.config.seed}",
        note="Greedy trajectories of the same validation users each time; `sampled reward` is the mean over the "
        "trajectories sampled since the row before, `commonest wish` the share of the commonest text among all.",
        part="validation",
        targets=dataset.targets_hash("validation"),
        users=min(run.config.rl.evaluate_users, len(dataset.examples("validation"))),
        seed=run.config.seed,
        columns=columns,
        rows=tuple(rows),
        command=f"{rerun_command(run.config)}\npython benchmarks/learning_curve.py --run RUN",
        machine=made["machine"],
        commit=made["commit"],
        versions=made["versions"],
    )
    write_table(options.out, table)


if __name__ == "__main__":
    main()
