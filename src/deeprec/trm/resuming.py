"""What an interrupted fit goes on from: all that the next epoch depends on, as safetensors and JSON."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deeprec.artefacts import mark_whole, read_whole
from deeprec.disk import append_jsonl, drop_rows, whole_folder
from deeprec.run import Run

_TENSORS = "state.safetensors"
_COST = 0.02  # share of a fit's time that checkpoints may take

_log = logging.getLogger(__name__)


class Resumable(Protocol):
    """A trainer whose next epoch depends on nothing else."""

    rng: np.random.Generator
    steps: int

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def averaged(self) -> nn.Module:
        """The running mean of its weights."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What trains it."""
        ...


@dataclass
class Course:
    """How far a fit has come: epochs, the best weights, epochs since them, seconds of all sittings together.

    `best_merit` and `best_ndcg` are those of the best weights; without a validation None and 0.
    """

    best: dict[str, Tensor]
    epoch: int = 0
    best_merit: float | None = None
    best_ndcg: float = 0.0
    waited: int = 0
    seconds: float = 0.0
    is_over: bool = False


class EpochCheckpoint:
    """The state of a fit after its latest epochs, in a folder that goes by what the fit depends on.

    A damaged one is told of and removed: the fit begins again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._due = 0.0  # when the next one is; the first is written at once
        self._facts = self._read()

    @property
    def epoch(self) -> int:
        """The epoch that a fit goes on from; 0: it begins."""
        return int(self._facts["course"]["epoch"]) if self._facts else 0

    @property
    def seconds(self) -> float:
        """What earlier sittings took until then."""
        return float(self._facts["course"]["seconds"]) if self._facts else 0.0

    def load(self, trainer: Resumable) -> Course | None:
        """Put `trainer` and the generators of random numbers back; None: there is nothing to go on from."""
        if not self._facts:
            return None
        tensors = load_file(str(self.folder / _TENSORS))
        _restore(trainer, tensors, self._facts)
        return Course(best=_named(tensors, "best."), **self._facts["course"])

    def save(self, trainer: Resumable, course: Course) -> None:
        """Write down the state after an epoch, unless the last writing was too dear to do it again already."""
        begun = time.monotonic()
        # The last one always: what follows the epochs may be interrupted, too.
        if begun < self._due and not course.is_over:
            return
        tensors = {f"best.{name}": value for name, value in course.best.items()} | _state(trainer)
        facts = asdict(replace(course, best={}))
        del facts["best"]
        with whole_folder(self.folder) as part:
            # Copies: tied weights share their memory, which the format refuses.
            save_file({name: value.cpu().clone() for name, value in tensors.items()}, str(part / _TENSORS))
            known = {"course": facts, "steps": trainer.steps, "rng": dict(trainer.rng.bit_generator.state)}
            mark_whole(part, **known)
        self._facts = known
        now = time.monotonic()
        self._due = now + (now - begun) / _COST

    def remove(self) -> None:
        """Forget this fit and those with other inputs beside it."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        if not self.folder.is_dir():
            return {}
        facts = read_whole(self.folder)
        if isinstance(facts, dict):
            return facts
        _log.warning("%s, so the fit begins again", facts)
        shutil.rmtree(self.folder, ignore_errors=True)
        return {}


def checkpoint_size(network: nn.Module) -> int:
    """Bytes of two checkpoints: the next one is written before the last one goes.

    Each holds the weights, their running mean, the best of these, and two moments of the optimizer.
    """
    return 2 * 5 * sum(weight.numel() * weight.element_size() for weight in network.parameters())


def merit(figures: Mapping[str, Any]) -> float | None:
    """What the best epoch is chosen by, of an epoch's figures: the larger, the better; None without a validation.

    The likelihood of the targets where it was measured (`nats`), else NDCG@10: on a thousand users NDCG@10 jumps
    by more than what an epoch adds, and three epochs of bad luck end a fit too early.

    >>> merit({"ndcg": 0.1, "nats": 5.5}), merit({"ndcg": 0.1}), merit({"loss": 2.0})
    (-5.5, 0.1, None)
    """
    nats, ndcg = figures.get("nats"), figures.get("ndcg")
    if nats is not None:
        return -float(nats)
    return None if ndcg is None else float(ndcg)


class FitLog:
    """Appends a fit's records to the run's log, and keeps those of its best epoch.

    Rows that an interrupted fit wrote behind its checkpoint go first: they will be written again.
    """

    def __init__(self, run: Run, stage: str, checkpoint: EpochCheckpoint | None = None) -> None:
        self._file, self._stage = run.metrics, stage
        self.best: dict[str, Any] = {}
        epoch = 0 if checkpoint is None else checkpoint.epoch
        for row in drop_rows(run.metrics, stage, lambda row: row.get("epoch", epoch + 1) <= epoch):
            self._weigh(row)

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Append one."""
        append_jsonl(self._file, {**record, "stage": self._stage})
        self._weigh(record)

    def _weigh(self, record: Mapping[str, Any]) -> None:
        found, best = merit(record), merit(self.best)
        if found is not None and (best is None or found > best):
            self.best.update(record)
        self.best.update({key: value for key, value in record.items() if key.endswith("_true_phrase")})


def _state(trainer: Resumable) -> dict[str, Tensor]:
    found = {f"network.{name}": value for name, value in trainer.network.state_dict().items()}
    found |= {f"averaged.{name}": value for name, value in trainer.averaged.state_dict().items()}
    for index, entry in trainer.optimizer.state_dict()["state"].items():
        found |= {f"optimizer.{index}.{name}": value for name, value in entry.items()}
    found["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        found |= {f"random.{place}": state for place, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def _restore(trainer: Resumable, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    trainer.network.load_state_dict(_named(tensors, "network."))
    trainer.averaged.load_state_dict(_named(tensors, "averaged."))
    entries: dict[int, dict[str, Tensor]] = {}
    for name, value in _named(tensors, "optimizer.").items():
        index, _, key = name.partition(".")
        entries.setdefault(int(index), {})[key] = value
    # Groups come from the settings, which the folder's name stands for; only moments are restored.
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": entries, "param_groups": groups})
    trainer.steps = facts["steps"]
    trainer.rng.bit_generator.state = facts["rng"]
    torch.set_rng_state(tensors["random"])
    for place, state in enumerate(_named(tensors, "random.").values()):
        torch.cuda.set_rng_state(state, place)


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
