"""How far simple rankings stay below the best possible one on the simulated world.

python benchmarks/synthetic_ceiling.py [--set data.synthetic.users=800] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deeprec.config import load_config
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare
from deeprec.data.synthetic import oracle
from deeprec.metrics import ndcg, ranks_in_lists, recall
from deeprec.types import Example

Scorer = Callable[[Example], NDArray[np.float64]]


def scorers(dataset: Dataset) -> dict[str, Scorer]:
    """Counting baselines, fitted on `fit`: example -> score of every item index."""
    size = dataset.catalog.n_items + 1
    popularity, follows, together = np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
    for example in dataset.fit_histories():
        history = np.array(example.history)
        popularity[history] += 1
        np.add.at(follows, (history[:-1], history[1:]), 1)
        together[np.ix_(history, history)] += 1
    cosine = together / np.sqrt(np.outer(popularity + 1, popularity + 1))
    np.fill_diagonal(cosine, 0)
    facts = describe(dataset)
    fame = np.log(popularity + 1)
    return {
        "popularity": lambda example: popularity,
        "item after item": lambda example: follows[example.history[-1]] + 1e-3 * popularity,
        "neighbouring items": lambda example: cosine[list(example.history)].sum(axis=0),
        "genres and decades": lambda example: (
            8 * facts @ facts[list(example.history)].mean(axis=0) + 0.7 * fame
        ),
    }


def describe(dataset: Dataset) -> NDArray[np.float64]:
    """Genres (sum 1) and decade of every item, (items + 1, genres + decades)."""
    genres = sorted({genre for item in dataset.catalog.items for genre in item.categories})
    decades = sorted({item.year // 10 for item in dataset.catalog.items if item.year})
    table = np.zeros((dataset.catalog.n_items + 1, len(genres) + len(decades)))
    for item in dataset.catalog.items:
        for genre in item.categories:
            table[item.item_index, genres.index(genre)] = 1 / len(item.categories)
        if item.year:
            table[item.item_index, len(genres) + decades.index(item.year // 10)] = 1
    return table


def top(scorer: Scorer, example: Example, k: int = 10) -> list[int]:
    """The k best items outside the history; ties break by index."""
    scores = scorer(example).copy()
    scores[[0, *example.history]] = -np.inf
    return [int(item) for item in np.argsort(-scores, kind="stable")[:k]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    arguments = parser.parse_args()
    config = load_config(overrides=arguments.overrides)
    dataset = prepare(config.data, config.data.synthetic.seed)
    examples = dataset.examples("test")
    targets = [example.target for example in examples]
    best = oracle(config.data.synthetic, config.data.synthetic.seed, dataset)
    rankings = {"oracle": [list(entry.ranking) for entry in best.recommend(examples)]}
    for name, scorer in scorers(dataset).items():
        rankings[name] = [top(scorer, example) for example in examples]
    for metric, measure in (("recall@10", recall), ("ndcg@10", ndcg)):
        values = {
            name: float(measure(ranks_in_lists(found, targets), 10).mean())
            for name, found in rankings.items()
        }
        for name, value in values.items():
            row = {
                "name": name,
                "value": value,
                "unit": metric,
                "peer": "oracle",
                "peer_value": values["oracle"],
            }
            row["ratio"] = value / values["oracle"]
            print(
                json.dumps(row)
                if arguments.json
                else f"{name:20} {metric:10} {value:.3f}  ({row['ratio']:.0%})"
            )


if __name__ == "__main__":
    main()
