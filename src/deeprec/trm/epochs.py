"""Epochs with early stopping, for anything that is fitted on histories and ranks the catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deeprec.progress import progress_bar
from deeprec.trm.windows import Window

Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Validation:
    """Held-out quality at 10, over the whole catalogue."""

    ndcg: float
    recall: float

    def record(self, suffix: str = "") -> dict[str, float]:
        """For the log, rounded."""
        return {f"{key}{suffix}": round(value, 5) for key, value in asdict(self).items()}


class Limits(Protocol):
    """When to stop, at the latest."""

    @property
    def epochs(self) -> int:
        """Epochs at most."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without a better validation NDCG@10 before stopping."""
        ...

    @property
    def max_minutes(self) -> float | None:
        """Stop after the epoch in which this time is over."""
        ...


class Trainer(Protocol):
    """What `run_epochs` drives."""

    @property
    def config(self) -> Limits:
        """The limits."""
        ...

    def epoch(self, histories: Sequence[Window]) -> tuple[float, int]:
        """One pass over the histories; the mean loss and the number of trained positions."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """A copy of what would be kept now."""
        ...


def run_epochs(
    trainer: Trainer,
    histories: Sequence[Window],
    validate: Callable[[dict[str, Tensor]], Validation] | None,
    log: Log | None,
    title: str,
) -> dict[str, Tensor]:
    """Epochs until validation NDCG@10 stops rising, the limit, or the time; the best weights.

    Without `validate` there is nothing to stop on and the last epoch counts. `title` is what
    the progress bar says.
    """
    config = trainer.config
    best, best_ndcg, waited, started = trainer.weights(), -1.0, 0, time.monotonic()
    with progress_bar(title, config.epochs) as bar:
        for epoch in range(1, config.epochs + 1):
            begun = time.monotonic()
            loss, tokens = trainer.epoch(histories)
            record: dict[str, Any] = {"stage": "trm", "epoch": epoch, "loss": round(loss, 5)}
            record.update(tokens=tokens, train_seconds=round(time.monotonic() - begun, 3))
            weights = trainer.weights()
            if validate is None:
                best = weights
            else:
                found = validate(weights)
                record.update(found.record())
                waited = 0 if found.ndcg > best_ndcg else waited + 1
                if found.ndcg > best_ndcg:
                    best, best_ndcg = weights, found.ndcg
            record["seconds"] = round(time.monotonic() - started, 2)
            if log is not None:
                log(record)
            bar.advance(1, f"loss {loss:.3f}, validation NDCG@10 {max(best_ndcg, 0):.4f}")
            late = config.max_minutes is not None and record["seconds"] > 60 * config.max_minutes
            if waited >= config.patience or late:
                break
    return best


_Tensors = tuple[Tensor, ...] | list[Tensor]


def running_mean(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Exponential mean that remembers `decay` a step at most, and less while there is little to remember."""

    def update(averaged: _Tensors, current: _Tensors, steps: Tensor | int) -> None:
        count = int(steps)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + count) / (10 + count)))

    return update
