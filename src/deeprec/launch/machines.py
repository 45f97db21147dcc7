"""Whether machines can hold a policy while it is trained, worked out from its shape."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from deeprec.errors import ConfigError

# Bytes a parameter (bfloat16 weights and gradients, vLLM's copy; float32 weights and two moments) that each GPU holds,
# and those that all share, by the stage of ZeRO.
_BYTES = {2: (2 + 2 + 2, 12), 3: (2, 2 + 2 + 12)}
_FILLED = 0.8  # of a GPU's memory; the rest is for activations and vLLM's cache
_MOST = 4096  # GPUs


@dataclass(frozen=True, slots=True)
class Machines:
    """What the training is given: machines, GPUs in each, and gigabytes (10⁹) of each GPU."""

    nodes: int
    gpus: int
    memory: float

    @property
    def all_gpus(self) -> int:
        """GPUs of all machines."""
        return self.nodes * self.gpus

    def zero_stage(self, parameters: int) -> int:
        """The stage of ZeRO that trains a policy of so many parameters here: 2 (faster), or 3 where that is too large.

        Raises ConfigError where neither fits, naming what does.
        """
        for stage in _BYTES:
            if self._fits(parameters, self.all_gpus, stage):
                return stage
        enough = next((n for n in range(1, _MOST) if self._fits(parameters, n, 3)), None)
        fits = (
            f"{enough} of them fit"
            if enough
            else f"no number of them fits: take GPUs of {_least(parameters)} GB or more"
        )
        raise ConfigError(
            f"--nodes {self.nodes} --gpus {self.gpus}: a policy of {parameters / 1e9:.1f}e9 parameters takes "
            f"{_needed(parameters, self.all_gpus, 3):.0f} GB of each GPU, and {self.memory * _FILLED:.0f} of "
            f"{self.memory:.0f} can be filled; {fits}"
        )

    def _fits(self, parameters: int, gpus: int, stage: int) -> bool:
        return _needed(parameters, gpus, stage) <= self.memory * _FILLED


def _needed(parameters: int, gpus: int, stage: int) -> float:
    """Gigabytes of each GPU."""
    each, shared = _BYTES[stage]
    return parameters * (each + shared / gpus) / 1e9


def _least(parameters: int) -> int:
    return math.ceil(_needed(parameters, _MOST, 3) / _FILLED)


def stored_parameters(policy: Path) -> int:
    """Numbers in the weights in a policy's folder, from the heads of its files."""
    total = 0
    for file in policy.glob("*.safetensors"):
        with file.open("rb") as content:
            head = json.loads(content.read(int.from_bytes(content.read(8), "little")))
        total += sum(math.prod(entry["shape"]) for name, entry in head.items() if name != "__metadata__")
    return total


def shaped_parameters(model: str) -> int:
    """Numbers in the weights of a model by its name or path, from its shape alone.

    Raises PolicyError where its shape can't be read.
    """
    from deeprec.policy.folders import described_parameters
    from deeprec.policy.loading import readable, source_of

    with readable(model, "shape", "policy.model"):
        return described_parameters(source_of(model), model)
