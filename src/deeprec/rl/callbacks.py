"""What happens around TRL's steps: logs, held-out evaluation, checkpoints, and giving up."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from deeprec.errors import TrainingError
from deeprec.progress import Bar
from deeprec.rl.sampling import Sampler
from deeprec.run import append_jsonl, read_jsonl, write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from transformers import PreTrainedModel

Evaluate = Callable[["PreTrainedModel"], Mapping[str, float]]

COLLAPSED_VALIDITY = 0.05
_COMPLETE = "complete.json"
# TRL's names of the figures that we keep under ours.
_FROM_TRL = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_fraction",
}


class IterationLog(TrainerCallback):  # type: ignore[misc]
    """One row an iteration in `metrics.jsonl` and TensorBoard; held-out figures join theirs."""

    def __init__(
        self,
        sampler: Sampler,
        metrics: Path,
        writer: SummaryWriter,
        bar: Bar,
        *,
        updates_per_step: int,
        evaluate: Evaluate | None,
        evaluate_every: int,
    ) -> None:
        self._sampler, self._metrics, self._writer, self._bar = sampler, metrics, writer, bar
        self._updates, self._evaluate, self._every = updates_per_step, evaluate, evaluate_every
        self._heldout: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Step 0 is the policy that the stage starts from; a resumed stage has its row already."""
        if state.global_step == 0 and self._evaluate is not None:
            self._write(0, dict(self._evaluate(model)))
        self._bar.advance(state.global_step // self._updates)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Evaluate before the row is written, and so before the checkpoint is."""
        step, part = divmod(state.global_step, self._updates)
        last = state.global_step == state.max_steps
        if part == 0 and self._evaluate is not None and (step % self._every == 0 or last):
            self._heldout = dict(self._evaluate(model))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Write the row of a finished iteration (TRL's summary of a whole run is not one)."""
        if not logs or "loss" not in logs:
            return
        figures = dict(self._sampler.figures)
        figures |= {ours: float(logs[theirs]) for theirs, ours in _FROM_TRL.items() if theirs in logs}
        step = state.global_step // self._updates
        self._write(step, figures | self._heldout)
        self._heldout = {}
        self._bar.advance(1, f"reward {figures['reward']:.3f}, valid {figures['validity']:.0%}")

    def _write(self, step: int, figures: Mapping[str, float]) -> None:
        append_jsonl(self._metrics, {"stage": self._sampler.stage, "step": step, **figures})
        for name, value in figures.items():
            self._writer.add_scalar(f"{self._sampler.stage}/{name}", value, step)


class CollapseGuard(TrainerCallback):  # type: ignore[misc]
    """Stops a stage in which next to nothing has been valid for many iterations.

    It reads the iterations before a resume from the log, so that an interruption doesn't
    start the count again.
    """

    def __init__(self, sampler: Sampler, metrics: Path, patience: int) -> None:
        self._sampler, self._patience = sampler, patience
        rows = [row for row in read_jsonl(metrics) if row.get("stage") == sampler.stage]
        self._latest = deque((row["validity"] for row in rows if "validity" in row), maxlen=patience)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Count, and raise TrainingError once patience is at its end."""
        if not logs or "loss" not in logs:
            return
        self._latest.append(self._sampler.figures["validity"])
        if len(self._latest) == self._patience and max(self._latest) < COLLAPSED_VALIDITY:
            raise TrainingError(
                f"stage '{self._sampler.stage}': fewer than {COLLAPSED_VALIDITY:.0%} of the trajectories were "
                f"valid in each of the last {self._patience} iterations; the last checkpoint is kept; lower "
                "rl.learning_rate, or train the warm start longer"
            )


class CheckpointMarker(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint once all of it is on disk: one that was cut short is never resumed from."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after the last file of the checkpoint was written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_atomically(folder / _COMPLETE, json.dumps({"step": state.global_step}))


def latest_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """The newest complete checkpoint and its optimizer step; removes those that were cut short."""
    found = []
    for checkpoint in folder.glob("checkpoint-*"):
        if (checkpoint / _COMPLETE).is_file():
            step = json.loads((checkpoint / _COMPLETE).read_text(encoding="utf-8"))["step"]
            found.append((int(step), checkpoint))
        else:
            shutil.rmtree(checkpoint)
    if not found:
        return None
    step, checkpoint = max(found)
    return checkpoint, step


def drop_rows(file: Path, stage: str, after_step: int = -1) -> None:
    """Forget a stage's rows beyond a step, or all of them: those will be written again."""
    if not file.exists():
        return
    rows = read_jsonl(file)
    kept = [row for row in rows if row.get("stage") != stage or row.get("step", 0) <= after_step]
    write_atomically(file, "".join(json.dumps(row) + "\n" for row in kept))
