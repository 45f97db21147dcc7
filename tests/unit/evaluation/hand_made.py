"""A catalogue of twelve items, twelve users, and policies whose every trajectory is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.config import load_config
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.disk import append_jsonl
from deeprec.evaluation.stage import run_evaluation
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.recommender import Recommendation
from deeprec.run import Run
from deeprec.trm.base import Retrieval
from deeprec.trm.baselines import Popularity, item_counts
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example, Item, StopReason, Trajectory, Turn

N_ITEMS, N_USERS = 40, 12
Make = Callable[[Example], Trajectory]


def build_dataset(order: Sequence[int] = tuple(range(N_USERS))) -> Dataset:
    """User u (two digits) saw items u+1, u+2, u+3; validation is u+4, test u+5."""
    items = tuple(
        Item(i, f"i{i}", f"Item {i}", f"Item {i}", ("Action",) if i % 2 else ("Drama",))
        for i in range(1, N_ITEMS + 1)
    )
    rows = [
        {
            "user_id": f"u{user:02}",
            "item_index": user + step,
            "timestamp": float(step),
            "rating": 4.0,
            "part": part,
        }
        for user in order
        for step, part in enumerate(("fit", "fit", "fit", "validation", "test"), 1)
    ]
    schema = {"user_id": pl.String, "item_index": pl.Int32, "timestamp": pl.Float64, "rating": pl.Float32}
    frame = pl.DataFrame(rows, schema={**schema, "part": pl.String})
    users = pl.DataFrame({"user_id": [f"u{user:02}" for user in order]})
    return Dataset("hand-made", Catalog(items), frame, users)


class ByIndex:
    """A Retriever that ranks by item index: whatever is left, smallest first."""

    n_items = N_ITEMS

    def score(self, histories: Sequence[Sequence[int]], preferences: object = None) -> NDArray[np.float32]:
        scores = -np.arange(N_ITEMS + 1, dtype=np.float32)
        scores[0] = -np.inf
        return np.tile(scores, (len(histories), 1))

    def retrieve(
        self,
        histories: Sequence[Sequence[int]],
        preferences: object = None,
        k: int = 20,
        exclude: Sequence[Sequence[int]] | None = None,
    ) -> Retrieval:
        scores = self.score(histories)
        for row, items in enumerate(exclude or ()):
            scores[row, list(items)] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return Retrieval(order, np.take_along_axis(scores, order, axis=1))

    def item_vectors(self) -> None:
        return None


class Letters:
    """A TextEncoder: one dimension a letter, so that cosines can be worked out by hand."""

    dim = 26
    fingerprint = "letters"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), 26), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text.lower():
                if letter.isascii() and letter.isalpha():
                    row[ord(letter) - ord("a")] += 1
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows / np.where(norms > 0, norms, 1)).astype(np.float32)


def make_trajectory(
    example: Example,
    turns: Sequence[tuple[str, Sequence[int]]] = (("a", (1, 2)),),
    ranking: Sequence[int] = (),
    stop_reason: StopReason = StopReason.FINISHED,
    format_errors: tuple[str, ...] = (),
    sampled: int = 3,
) -> Trajectory:
    return Trajectory(
        user_id=example.user_id,
        prompt_ids=(1, 2),
        response_ids=(5,) * (sampled + 2),
        loss_mask=(1,) * sampled + (0, 0),
        logprobs=(-0.5,) * sampled + (0.0, 0.0),
        prompt="prompt",
        response="response",
        turns=tuple(Turn("thought", text, tuple(items), (0.5,) * len(items)) for text, items in turns),
        lines=tuple(f"Item {item}" for item in ranking),
        ranking=tuple(ranking),
        stop_reason=stop_reason,
        format_errors=format_errors,
    )


@dataclass
class Policy:
    """A Recommender that gives the trajectory `make` writes for an example."""

    make: Make
    name: str = "recommendation"

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        found = [self.make(example) for example in examples]
        return [Recommendation(t.ranking[:k], self.name, None, t) for t in found]


class PopularityTRM(Popularity):
    """Popularity with the text side of a TRM, so that every reward part can be worked out."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(item_counts(dataset))
        self.encoder = Letters()
        rows = self.encoder.encode([item.label for item in dataset.catalog.items])
        self._text = np.vstack([np.zeros((1, rows.shape[1]), np.float32), rows])

    def text_vectors(self) -> NDArray[np.float32]:
        return self._text

    def item_vectors(self) -> NDArray[np.float32]:  # type: ignore[override]
        return self._text


def evaluated_run(folder: Path, seed: int = 0) -> tuple[Run, EvaluationSummary]:
    """A run on a small simulated data set with two policies: every third user of one fails."""
    config = load_config(
        overrides=[
            "data.synthetic.users=30", "data.synthetic.items=60", "evaluation.bootstrap=100",
            f"seed={seed}",
        ]
    )  # fmt: skip
    run = Run.create(folder, config)
    dataset = run_data(run)
    trm = PopularityTRM(dataset)

    def poor(example: Example) -> Trajectory:
        if int(example.user_id[1:]) % 3 == 0:
            return make_trajectory(example, (("<b>x</b>", (1, 2)),), (), StopReason.NO_LIST, ("no list",))
        return good(example)

    def good(example: Example) -> Trajectory:
        others = [item for item in range(1, 40) if item not in (*example.history, example.target)][:9]
        trajectory = make_trajectory(
            example, (("ab", (1, 2)), ("cd", (example.target,))), (example.target, *others)
        )
        labels = tuple(dataset.catalog[item].label for item in trajectory.ranking)
        return replace(
            trajectory, lines=(*labels[:9], "<script>alert(1)</script>"), ranking=trajectory.ranking[:9]
        )

    recommenders = {
        "trm": TRMRecommender(trm, dataset),
        "warm_start": Policy(poor, "warm_start"),
        "recommendation": Policy(good, "recommendation"),
    }
    for stage, minutes in (("trm", 1.0), ("warm_start", 2.0), ("cold_start", 4.0), ("recommendation", 8.0)):
        run.finish(stage, f"{stage}-inputs", minutes)
    for stage, steps in (("cold_start", 2), ("recommendation", 3)):
        for step in range(1, steps + 1):
            figures = {"reward": float(step), "reward/format": -0.5, "validity": 0.5, "entropy": 2.0}
            append_jsonl(run.metrics, {"stage": stage, "step": step, **figures})
    return run, run_evaluation(run, dataset, trm, recommenders)
