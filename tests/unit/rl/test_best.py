"""The best policy on validation is kept, and a stage that gets no better stops."""

from __future__ import annotations

from pathlib import Path

import torch

from deeprec.rl.best import METRIC, BestPolicy


def model(value: float) -> torch.nn.Module:
    made = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(made.weight, value)
    made.bias.requires_grad_(False)
    return made


def noted(best: BestPolicy, *values: float, first: int = 0) -> list[bool]:
    return [
        best.note(step, {METRIC: value}, model(float(step)))  # type: ignore[arg-type]
        for step, value in enumerate(values, first)
    ]


def test_it_stops_after_so_many_evaluations_without_a_better_one(tmp_path: Path) -> None:
    best = BestPolicy(tmp_path, patience=2)
    assert noted(best, 0.1, 0.3, 0.2, 0.25) == [False, False, False, True]
    trained = model(9.0)
    assert best.restore(trained) == 1  # type: ignore[arg-type]
    assert trained.weight.item() == 1.0


def test_the_start_is_kept_where_nothing_beats_it(tmp_path: Path) -> None:
    best = BestPolicy(tmp_path, patience=5)
    noted(best, 0.3, 0.3, 0.1)  # an equal one is no better
    trained = model(9.0)
    assert best.restore(trained) == 0  # type: ignore[arg-type]
    assert trained.weight.item() == 0.0


def test_a_resumed_stage_knows_what_was_measured_before(tmp_path: Path) -> None:
    noted(BestPolicy(tmp_path, patience=2), 0.3, 0.2, 0.4)
    again = BestPolicy(tmp_path, patience=2)
    # Interrupted behind step 1: step 2 is measured again, and what came of it then counts no more.
    assert noted(again, 0.1, first=2) == [True]
    trained = model(9.0)
    assert again.restore(trained) == 0  # type: ignore[arg-type]
