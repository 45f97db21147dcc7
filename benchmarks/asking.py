"""What asking can gain: one preference per user, sent to the TRM once, its top list as the answer.

python benchmarks/asking.py RUN [--users 400] [--json]

Prints stage 2's reward and NDCG@10 on validation users for fixed ways of asking, beside no
preference at all. RUN needs its data and TRM only.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from deeprec.data.dataset import Dataset
from deeprec.metrics import means, ranking_metrics
from deeprec.pipeline import load_stages
from deeprec.rewards.outcome import hit_reward, rank_reward, similarity_reward
from deeprec.rl.stage import reward_space
from deeprec.run import Run
from deeprec.trm.phrases import item_phrases
from deeprec.types import Example

Ask = Callable[[Example], str | None]


def ways(dataset: Dataset) -> dict[str, Ask]:
    """Ways of asking by name; exact years are left out, as in the warm start's scripts."""

    def phrases(item: int) -> list[str]:
        return [phrase for phrase in item_phrases(dataset.catalog[item]) if not phrase.isdigit()]

    def commonest(example: Example, count: int) -> str:
        found = Counter(phrase for item in example.history[-10:] for phrase in phrases(item))
        return "; ".join(phrase for phrase, _ in found.most_common(count))

    everybody = Counter(phrase for item in dataset.catalog.items for phrase in phrases(item.item_index))
    same = everybody.most_common(1)[0][0]
    return {
        "none": lambda example: None,
        f"'{same}' for everybody": lambda example: same,
        "commonest phrase of the last ten items": lambda example: commonest(example, 1),
        "two commonest": lambda example: commonest(example, 2),
        "four commonest": lambda example: commonest(example, 4),
        "all phrases of the last item": lambda example: "; ".join(phrases(example.history[-1])),
        "one true phrase of the target": lambda example: (phrases(example.target) or [""])[0],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    dataset, trm = load_stages(run)
    space, k = reward_space(run, dataset, trm), run.config.rollout.recommended
    examples = dataset.examples("validation")[: arguments.users]
    histories = [example.history for example in examples]
    excluded = [dataset.exclusions(example) for example in examples]
    plain: dict[str, float] = {}
    for name, ask in ways(dataset).items():
        found = trm.retrieve(histories, [ask(example) for example in examples], k=k, exclude=excluded)
        rankings = [[int(item) for item in row] for row in found.item_indices]
        rewards = [
            hit_reward(items, example.target)
            + rank_reward(items, example.target, k)
            + similarity_reward(items, example.target, space.text_vectors, space.item_vectors)
            for items, example in zip(rankings, examples, strict=True)
        ]
        targets = [example.target for example in examples]
        values = {
            "stage 2 reward": sum(rewards) / len(rewards),
            "ndcg@10": means(ranking_metrics(rankings, targets))["ndcg@10"],
        }
        plain = plain or values
        for unit, value in values.items():
            row = {"name": name, "value": value, "unit": unit, "peer": "none", "peer_value": plain[unit]}
            row["ratio"] = value / plain[unit]
            print(json.dumps(row) if arguments.json else f"{name}: {unit} {value:.4f} ({row['ratio']:.3f})")


if __name__ == "__main__":
    main()
