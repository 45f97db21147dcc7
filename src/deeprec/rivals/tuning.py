"""Settings of a rival chosen on validation: a baseline that nobody tuned is no fair rival."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Generic, TypeVar

from deeprec import metrics
from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.progress import progress_bar
from deeprec.recommender import Recommender
from deeprec.types import Example

Model = TypeVar("Model")
Settings = Mapping[str, Any]

METRIC = "ndcg@10"
VALIDATION_USERS = 3000  # that settings are chosen on, at most


@dataclass(frozen=True)
class Choice(Generic[Model]):
    """The best of what was tried; `tried` are all settings with their validation NDCG@10."""

    model: Model
    settings: Settings
    ndcg: float
    tried: tuple[dict[str, Any], ...]
    users: int

    def facts(self) -> dict[str, Any]:
        """For the record of the stage; `at_edge` names settings whose grid may be too narrow."""
        return {
            "chosen": dict(self.settings),
            "validation": {METRIC: round(self.ndcg, 5), "users": self.users},
            "at_edge": self.at_edge(),
            "tried": list(self.tried),
        }

    def at_edge(self) -> list[str]:
        """Numeric settings, of three values or more, whose chosen value is the smallest or largest tried."""
        found = []
        for name, value in self.settings.items():
            values = {entry[name] for entry in self.tried}
            numeric = all(isinstance(one, int | float) for one in values)
            if numeric and len(values) > 2 and value in (min(values), max(values)):
                found.append(name)
        return found


def choose(
    name: str,
    candidates: Iterable[tuple[Settings, Model]],
    wrap: Callable[[Model], Recommender],
    examples: Sequence[Example],
    count: int,
) -> Choice[Model]:
    """The candidate with the best validation NDCG@10 on `examples`; the earlier one where two tie.

    Candidates are fitted as they are asked for, and only the best one is kept; `count` is
    how many there are.
    """
    best: tuple[Settings, Model] | None = None
    highest, tried = -1.0, []
    with progress_bar(f"Tuning {name}", count) as bar:
        for settings, model in candidates:
            found = validation_ndcg(wrap(model), examples)
            tried.append({**settings, METRIC: round(found, 5)})
            if found > highest:
                best, highest = (settings, model), found
            bar.advance(1, f"{METRIC} {highest:.4f}")
    if best is None:
        raise EvaluationError(f"rival '{name}': no settings to try; give each of its settings a value")
    return Choice(best[1], best[0], highest, tuple(tried), len(examples))


def validation_ndcg(recommender: Recommender, examples: Sequence[Example]) -> float:
    """Mean NDCG@10 over the whole catalogue."""
    rankings = [found.ranking for found in recommender.recommend(examples, metrics.CUT)]
    columns = metrics.ranking_metrics(rankings, [example.target for example in examples])
    return float(columns[METRIC].mean())


def tuning_examples(dataset: Dataset, most: int) -> list[Example]:
    """At most so many validation users, the same for every rival and seed; raises EvaluationError for none."""
    examples = dataset.examples("validation")
    if not examples:
        raise EvaluationError(f"data set '{dataset.name}': no validation targets to choose settings on")
    # By hash, not by chance: another seed, or another rival, is tuned on the same users.
    drawn = sorted(examples, key=lambda example: sha256(example.user_id.encode()).digest())
    return drawn[:most]
