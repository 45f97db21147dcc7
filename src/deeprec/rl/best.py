"""Keeps the policy that was best on validation users, and stops a stage that no longer gets better."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from deeprec.disk import read_json, write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METRIC = "heldout/ndcg@10"


class BestPolicy:
    """The best weights so far, in `folder`; the policy that the stage starts from is the first of them.

    What RL learns by heart looks like progress on its own examples alone. An interrupted stage finds
    here what was measured before.
    """

    def __init__(self, folder: Path, patience: int) -> None:
        self._weights, self._record = folder / "best.safetensors", folder / "best.json"
        self._patience = patience

    def note(self, step: int, figures: Mapping[str, float], model: PreTrainedModel) -> bool:
        """Remember an evaluation; whether the stage should stop.

        An evaluation that a resumed stage makes again replaces the former one.
        """
        found = {at: value for at, value in self._evaluations().items() if at < step}
        value = float(figures[METRIC])
        if value > max(found.values(), default=-1.0):
            weights = {
                name: weight.detach().cpu().contiguous().clone()
                for name, weight in model.named_parameters()
                if weight.requires_grad
            }
            part = self._weights.with_suffix(".part")
            save_file(weights, part)
            part.replace(
                self._weights
            )  # whole or not at all; a stage killed before the record evaluates this step again
        found[step] = value
        write_atomically(self._record, json.dumps({str(at): value for at, value in found.items()}))
        # Of equals the earlier: later weights went further for nothing.
        best = max(found, key=lambda at: (found[at], -at))
        return sum(at > best for at in found) >= self._patience

    @torch.no_grad()
    def restore(self, model: PreTrainedModel) -> int:
        """Give `model` the best weights; the step that they are from."""
        best = load_file(self._weights)
        for name, weight in model.named_parameters():
            if name in best:
                weight.copy_(best[name])
        found = self._evaluations()
        return max(found, key=lambda at: (found[at], -at))

    def _evaluations(self) -> dict[int, float]:
        if not self._record.is_file():
            return {}
        values = read_json(self._record)
        return {int(step): float(value) for step, value in values.items()}
