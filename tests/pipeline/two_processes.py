"""Run by torchrun: each process whitens its own half of the trajectories, and writes down what it got."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from deeprec.rl.whitening import whiten_together

folder = Path(sys.argv[1])
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
half = np.load(folder / f"half{accelerator.process_index}.npz")
rows = [row[:length] for row, length in zip(half["advantages"], half["lengths"], strict=True)]
found = whiten_together(accelerator, rows, torch.from_numpy(half["sampled"]))
np.save(folder / f"found{accelerator.process_index}.npy", found.numpy())
accelerator.end_training()
