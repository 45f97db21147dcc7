"""Your own TRM: what followed what, as a function of item ids.

`python examples/own_trm.py [FOLDER]` warm-starts a tiny policy against it, trains a few steps
of stage 1, and recommends for one user. The commands take it too:
`PYTHONPATH=examples deeprec quickstart --set trm.kind=own_trm:build`. See docs/howto/own-trm.md.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from deeprec import Dataset, Recommendation, Retriever, Run, build_deeprec, load_config
from deeprec.config import TRMConfig
from deeprec.data.stage import run_data
from deeprec.rl.stage import run_rl
from deeprec.rl.warm_start import run_warm_start
from deeprec.trm.own import FunctionRetriever
from deeprec.trm.stage import run_trm


def build(dataset: Dataset, config: TRMConfig) -> Retriever:
    """What `trm.kind = "own_trm:build"` calls; it must read `dataset.fit_histories()` alone."""
    followers: dict[str, Counter[str]] = defaultdict(Counter)
    for user in dataset.fit_histories():
        for earlier, later in pairwise(dataset.catalog[item].item_id for item in user.history):
            followers[earlier][later] += 1

    def ask(
        histories: list[list[str]], preferences: list[str | None], k: int
    ) -> tuple[list[list[str]], list[list[float]]]:
        """Ids in, ids and scores out, best first: it need not rank everything, nor read preferences."""
        lists, scores = [], []
        for history in histories:
            found: Counter[str] = Counter()
            for age, item_id in enumerate(reversed(history[-10:]), 1):
                for other, count in followers.get(item_id, {}).items():
                    found[other] += count / age
            best = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:k]
            lists.append([item_id for item_id, _ in best])
            scores.append([score for _, score in best])
        return lists, scores

    return FunctionRetriever.fit(ask, dataset)


def main(folder: Path, overrides: Sequence[str] = ()) -> Recommendation:
    """Data, our TRM, warm start, a little of stage 1, and one recommendation."""
    settings = load_config("ci", overrides=["data.name=synthetic", "trm.kind=own_trm:build", *overrides])
    run = Run.create(folder, settings)
    dataset = run_data(run)
    trm = run_trm(run, dataset)  # steered by the items' texts, since `ask` reads no preference
    run_warm_start(run, dataset, trm)
    run_rl(run, dataset, trm, "cold_start")
    deeprec = build_deeprec(run, dataset, trm, fill_in=True)
    found = deeprec.recommend([dataset.known_history(dataset.user_ids[0])])[0]
    for turn in found.trajectory.turns if found.trajectory else ():
        print(f"asked for: {turn.preference}")
    for number, item in enumerate(found.ranking, 1):
        print(f"{number:3}. {dataset.catalog[item].label}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-trm"))
