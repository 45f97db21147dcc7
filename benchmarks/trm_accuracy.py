"""How well a run's TRM ranks the test targets, beside popularity, item-kNN and peers.

Every method ranks the whole catalogue without the user's earlier items, for the same targets
(the hash says so). Differences are the TRM minus the method, with the 95% bootstrap interval
over users; a peer's JSON is what its script in benchmarks/peers wrote.

    deeprec data prepare ml-1m --source ml-1m.zip --run runs/ml-1m --set data.rl_targets=0
    deeprec trm fit --run runs/ml-1m
    .venv-peers/bin/python benchmarks/peers/rectools_sasrec.py --run runs/ml-1m --out sasrec.json
    python benchmarks/trm_accuracy.py --run runs/ml-1m --peer sasrec.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deeprec.bench.accuracy import own_contestants, read_peer, result_rows
from deeprec.data.stage import load_data
from deeprec.evaluation.results import ResultRow, append_rows
from deeprec.metrics import RANKING_METRICS
from deeprec.run import Run
from deeprec.trm.stage import load_trm


def print_table(rows: list[ResultRow]) -> None:
    """One line a method."""
    print(f"{rows[0].dataset}: {rows[0].users} users, targets {rows[0].targets}")
    print(f"{'method':28s}", *(f"{name:>9s}" for name in RANKING_METRICS), "  minutes  trm minus it, NDCG@10")
    for row in rows:
        values = (f"{row.metrics[name]:9.4f}" for name in RANKING_METRICS)
        difference = ""
        if row.differences:
            mean, low, high = row.differences["trm"]["ndcg@10"]
            difference = f"{-mean:+.4f} [{-high:+.4f}, {-low:+.4f}]"
        print(f"{row.method:28s}", *values, f"{row.minutes:9.1f}  {difference}")
        if row.note:
            print(f"    {row.note}")


def main() -> None:
    """Print one row a method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/default"), help="a run whose TRM is fitted")
    parser.add_argument("--peer", type=Path, action="append", default=[], help="JSON of a peer; repeatable")
    parser.add_argument("--results", type=Path, help="results file to add the rows to")
    parser.add_argument("--command", help="the command that makes the rows [default: worked out]")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    run = Run.open(options.run)
    dataset = load_data(run)
    contestants = own_contestants(run, dataset, load_trm(run, dataset))
    contestants += [read_peer(file, dataset) for file in options.peer]
    rows = result_rows(run, dataset, contestants, options.command)
    if options.json:
        for row in rows:
            print(json.dumps(row.model_dump(mode="json")))
    else:
        print_table(rows)
    if options.results:
        append_rows(options.results, rows)


if __name__ == "__main__":
    main()
