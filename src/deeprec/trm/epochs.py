"""Epochs with early stopping, for anything that is fitted on histories and ranks the catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deeprec.progress import progress_bar
from deeprec.trm.resuming import Course, EpochCheckpoint, Resumable, merit
from deeprec.trm.windows import Window

Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Held-out quality at 10, over the whole catalogue; and what decides instead where it is measured.

    `nats` is the mean of -log p(target) over the catalogue, of a model that gives probabilities.
    """

    ndcg: float
    recall: float
    nats: float | None = None

    def record(self, suffix: str = "") -> dict[str, float]:
        """For the log, rounded."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        return {f"{key}{suffix}": round(value, 5) for key, value in known.items()}


class Limits(Protocol):
    """When to stop, at the latest."""

    @property
    def epochs(self) -> int:
        """Epochs at most."""
        ...

    @property
    def patience(self) -> int:
        """Epochs without a better validation before stopping."""
        ...

    @property
    def max_minutes(self) -> float | None:
        """Stop after the epoch in which this time is over."""
        ...


class Trainer(Resumable, Protocol):
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
    checkpoint: EpochCheckpoint | None = None,
) -> dict[str, Tensor]:
    """Epochs until validation no longer gets better, the limit, or the time; the best weights (`merit`).

    Without `validate` there is nothing to stop on and the last epoch counts. `title` is what
    the progress bar says. With a `checkpoint` an interrupted fit goes on, and ends as an uninterrupted one.
    """
    config = trainer.config
    course = (checkpoint.load(trainer) if checkpoint else None) or Course(trainer.weights())
    started = time.monotonic() - course.seconds
    with progress_bar(title, config.epochs) as bar:
        bar.advance(course.epoch)
        while not course.is_over and course.epoch < config.epochs:
            record = _run_epoch(trainer, histories, validate, course)
            record["seconds"] = course.seconds = round(time.monotonic() - started, 2)
            if log is not None:
                log(record)
            bar.advance(1, f"loss {record['loss']:.3f}, validation NDCG@10 {course.best_ndcg:.4f}")
            late = config.max_minutes is not None and course.seconds > 60 * config.max_minutes
            course.is_over = course.waited >= config.patience or late or course.epoch == config.epochs
            if checkpoint is not None:
                checkpoint.save(trainer, course)
    return course.best


def _run_epoch(
    trainer: Trainer,
    histories: Sequence[Window],
    validate: Callable[[dict[str, Tensor]], Validation] | None,
    course: Course,
) -> dict[str, Any]:
    """One epoch and its validation; moves `course` on, and returns the record for the log."""
    begun = time.monotonic()
    loss, tokens = trainer.epoch(histories)
    course.epoch += 1
    record: dict[str, Any] = {"stage": "trm", "epoch": course.epoch, "loss": round(loss, 5)}
    record.update(tokens=tokens, train_seconds=round(time.monotonic() - begun, 3))
    weights = trainer.weights()
    if validate is None:
        course.best = weights
        return record
    found = validate(weights)
    course.waited += 1
    value = merit(asdict(found))
    # Strictly better: of equals the earlier epoch has been fitted less.
    if value is not None and (course.best_merit is None or value > course.best_merit):
        course.best, course.best_merit, course.best_ndcg, course.waited = weights, value, found.ndcg, 0
    return record | found.record()


_Tensors = tuple[Tensor, ...] | list[Tensor]


def running_mean(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Exponential mean that remembers `decay` a step at most, and less while there is little to remember."""

    def update(averaged: _Tensors, current: _Tensors, steps: Tensor | int) -> None:
        count = int(steps)  # (1 + n) / (10 + n) rises to the decay: the first steps are soon forgotten
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + count) / (10 + count)))

    return update
