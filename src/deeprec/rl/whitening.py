"""Advantages on their way to the loss: whitened by the moments of every process that shares the iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.rl.advantages import token_sums, whiten

if TYPE_CHECKING:
    from accelerate import Accelerator


def whiten_together(accelerator: Accelerator, rows: Sequence[NDArray[np.float64]], sampled: Tensor) -> Tensor:
    """Whitened advantages (B, C) of those of each response (T,); moments are those of all processes.

    `sampled` (B, C) is 1 where the policy sampled a token of this process.
    """
    mask = sampled.cpu().numpy()
    advantages = np.zeros(mask.shape)
    for place, row in enumerate(rows):
        advantages[place, : len(row)] = row
    own = torch.from_numpy(token_sums(advantages, mask)).to(sampled.device)
    # Moments of this process alone would give equal rewards another advantage on another machine.
    sums = accelerator.gather(own[None]).sum(dim=0).cpu().numpy()
    return torch.from_numpy(whiten(advantages, mask, sums)).float().to(sampled.device)
