"""What happens around TRL's steps: logs, held-out evaluation, checkpoints, and giving up."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from deeprec.artefacts import COMPLETE, mark_whole, read_whole
from deeprec.config import RLConfig
from deeprec.disk import append_jsonl, read_json, read_jsonl, rewrite_jsonl, write_atomically, write_jsonl
from deeprec.errors import TrainingError
from deeprec.progress import Bar
from deeprec.rl.best import BestPolicy
from deeprec.rl.sampling import Sampler
from deeprec.rl.symptoms import Symptom, refuse_unready, symptoms

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Evaluate = Callable[[], Mapping[str, float]]

_log = logging.getLogger(__name__)

COLLAPSED = "collapsed.json"  # beside the checkpoints of a stage that collapsed
# TRL's names of the figures that we keep under ours.
_FROM_TRL = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "entropy": "entropy",
    "clip_ratio/region_mean": "clip_fraction",
    "list_entropy": "list/entropy",
    "list_ratio": "list/ratio",
    "list_clipped": "list/clip_fraction",
    "pull": "pull",
}


def from_trl(logs: Mapping[str, Any]) -> dict[str, float]:
    """TRL's figures of an iteration, under our names."""
    return {ours: float(logs[theirs]) for theirs, ours in _FROM_TRL.items() if theirs in logs}


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
        best: BestPolicy | None = None,
        least: float = 0.0,
    ) -> None:
        """`least` is the share of valid held-out trajectories that a stage begins with."""
        self._best, self._least = best, least
        self._sampler, self._metrics, self._writer, self._bar = sampler, metrics, writer, bar
        self._updates, self._evaluate, self._every = updates_per_step, evaluate, evaluate_every
        self._heldout: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Step 0 is the policy that the stage starts from; a resumed stage has its row already."""
        if state.global_step == 0 and self._evaluate is not None:
            figures = dict(self._evaluate())
            refuse_unready(self._sampler.stage, figures, self._least)
            if self._best is not None:
                self._best.note(0, figures, model)
            self._write(0, figures)  # else nothing would say where the stage set out from
        self._bar.advance(state.global_step // self._updates)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Evaluate before the row is written, and so before the checkpoint is; stop where nothing gets better."""
        step, part = divmod(state.global_step, self._updates)
        last = state.global_step == state.max_steps
        if part == 0 and self._evaluate is not None and (step % self._every == 0 or last):
            self._heldout = dict(self._evaluate())
            if self._best is not None and self._best.note(step, self._heldout, model):
                control.should_training_stop = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Write the row of a finished iteration (TRL's summary of a whole run is not one)."""
        if not logs or "loss" not in logs:
            return
        figures = dict(self._sampler.figures) | from_trl(logs)
        # One row an iteration, whatever the number of its updates.
        step = state.global_step // self._updates
        self._write(step, figures | self._heldout)
        self._heldout = {}
        self._bar.advance(1, f"reward {figures['reward']:.3f}, valid {figures['validity']:.0%}")

    def _write(self, step: int, figures: Mapping[str, float]) -> None:
        append_jsonl(self._metrics, {"stage": self._sampler.stage, "step": step, **figures})
        for name, value in figures.items():
            self._writer.add_scalar(f"{self._sampler.stage}/{name}", value, step)


class CollapseGuard(TrainerCallback):  # type: ignore[misc]
    """Stops a stage that has collapsed (see `health.symptoms`), and remembers that it did.

    An iteration that shows a symptom is not saved, so that the last checkpoint is from before the
    collapse. Iterations before a resume are read from the log: an interruption doesn't
    start the count again. The file `memory` keeps the message: the same settings would
    collapse again in the same way, so `check_collapsed` refuses them.
    """

    def __init__(self, sampler: Sampler, metrics: Path, config: RLConfig, memory: Path) -> None:
        self._sampler, self._config, self._memory = sampler, config, memory
        self._symptoms = symptoms(config)
        rows = [row for row in read_jsonl(metrics) if row.get("stage") == sampler.stage and "reward" in row]
        # From the log: a collapse that began before an interruption goes on counting.
        self._latest = deque(rows, maxlen=config.collapse_steps)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Count, and raise TrainingError once patience is at its end."""
        if not logs or "loss" not in logs:
            return
        figures = dict(self._sampler.figures) | from_trl(logs)
        step = -(-state.global_step // self._config.updates_per_step)
        broken = [name for name, value in figures.items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"stage '{self._sampler.stage}': {', '.join(broken)} is not a finite number at iteration {step}; "
                f"{self._kept(args)}; lower rl.learning_rate"
            )
        self._latest.append(figures)
        if any(symptom.shows(figures) for symptom in self._symptoms):
            control.should_save = False  # logs are written before checkpoints are
        if len(self._latest) == self._config.collapse_steps:
            for symptom in self._symptoms:
                if all(symptom.shows(row) for row in self._latest):
                    raise self._collapsed(symptom, step, args)

    def _collapsed(self, symptom: Symptom, step: int, args: Any) -> TrainingError:
        values = [float(row[symptom.figure]) for row in self._latest]
        side = "below" if symptom.is_low else "above"
        message = (
            f"stage '{self._sampler.stage}' collapsed at iteration {step}: {symptom.words} ({symptom.figure} "
            f"{min(values):.3g} to {max(values):.3g} in each of the last {len(values)} iterations, {side} "
            f"{symptom.setting} = {symptom.limit:g}); {self._kept(args)}; {symptom.remedy}"
        )
        record = {"step": step, "message": message, "limits": _limits(self._config)}
        write_atomically(self._memory, json.dumps(record))
        return TrainingError(message)

    def _kept(self, args: Any) -> str:
        found = latest_checkpoint(Path(args.output_dir))
        if found is None:
            return "no checkpoint was made before that"
        iteration = found[1] // self._config.updates_per_step
        return f"the last good checkpoint, of iteration {iteration}, is kept at {found[0]}"


def check_collapsed(memory: Path, config: RLConfig) -> None:
    """Raise TrainingError where a stage with these very settings and data has collapsed before."""
    if not memory.is_file():
        return
    record = read_json(memory)
    if record["limits"] == _limits(config):
        raise TrainingError(
            f"{record['message']}. That was an earlier attempt with the same settings, which would end alike: change "
            f"them, or delete {memory} to try them again all the same"
        )


def _limits(config: RLConfig) -> dict[str, float]:
    return {"steps": config.collapse_steps} | {str(name): limit for name, limit in config.collapse.items()}


class CheckpointMarker(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint once all of it is on disk: one that was cut short is never resumed from.

    The stage's rows of the log `files` are put into it, so that it brings its own past along
    when other settings have written to those files since.
    """

    def __init__(self, stage: str = "", files: Sequence[Path] = ()) -> None:
        self._stage, self._files = stage, files

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called after the last file of the checkpoint was written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        for file in self._files:
            rows = [row for row in read_jsonl(file) if row.get("stage") == self._stage]
            write_jsonl(folder / file.name, rows)
        mark_whole(folder, step=state.global_step)


def restore_rows(file: Path, stage: str, checkpoint: Path) -> None:
    """Put a stage's rows as they were when the checkpoint was made."""
    saved = read_jsonl(checkpoint / file.name)
    rewrite_jsonl(file, lambda rows: [row for row in rows if row.get("stage") != stage] + saved)


def latest_checkpoint(folder: Path) -> tuple[Path, int] | None:
    """The newest whole checkpoint and its optimizer step.

    One that was cut short is removed. One that is no longer what was written is told of and put aside
    (`damaged-checkpoint-N`): training goes on from the one before, or begins again.
    """
    found = []
    for checkpoint in folder.glob("checkpoint-*"):
        facts = read_whole(checkpoint)
        if isinstance(facts, dict):
            found.append((int(facts["step"]), checkpoint))
        elif (checkpoint / COMPLETE).is_file():
            _log.warning("%s; it is put aside, and training goes on from the checkpoint before", facts)
            aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.rename(aside)
        else:
            shutil.rmtree(checkpoint)
    if not found:
        return None
    step, checkpoint = max(found)
    return checkpoint, step


def warn_of_others(folder: Path, stage: str) -> None:
    """Say that checkpoints beside `folder` were made from other settings or data, and are not used.

    They go on from where they are once those settings are back. What never became a
    checkpoint is removed; so is a record of a collapse without one.
    """
    for other in sorted(folder.parent.glob("*")):
        if other == folder:
            continue
        found = latest_checkpoint(other)
        if found is None:
            shutil.rmtree(other)
        elif not (other / COLLAPSED).is_file():  # of a collapse the user knows
            _log.warning(
                "stage '%s': the checkpoint %s was made with other settings or data and is not used. It is kept "
                "until this stage is finished: with those settings back, the stage goes on from it.",
                stage, found[0],
            )  # fmt: skip
