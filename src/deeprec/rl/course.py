"""The course of joint learning (`joint.py`): how long it goes on, and which weights are kept.

Now and then validation users tell how many trajectories are valid and how good the lists are: that ends
the stage, and says which weights are kept.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deeprec.artefacts import mark_whole, read_whole
from deeprec.disk import whole_folder
from deeprec.errors import TrainingError
from deeprec.progress import progress_bar
from deeprec.rl.failures import named_failures
from deeprec.rl.joint import JointTrainer, Losses, bare_windows
from deeprec.rl.supervised import batched_by_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHECK_EVERY = 40  # iterations between two looks at validation users
SLACK = 0.002  # of NDCG@10 on a few hundred validation users: less is chance
VALID = 0.99  # share of valid trajectories that the stage ends with, if time allows

_log = logging.getLogger(__name__)
_state_file = "state.pt"  # not in capitals: no result depends on it


@dataclass(frozen=True)
class Checked:
    """What validation users say: the share of valid trajectories, and NDCG@10 of the lists."""

    validity: float
    ndcg: float

    def takes_over(self, best: Checked) -> bool:
        """Whether later weights that this is said of are kept in place of the `best` so far.

        Speaking comes first, as far as it has to. Beyond that who spoke longer knows more of whom it speaks to, which
        neither figure tells: lists as good as before, but for chance, are enough.
        """
        speaks, spoke = min(self.validity, VALID), min(best.validity, VALID)
        return speaks > spoke or (speaks == spoke and self.ndcg >= best.ndcg - SLACK)


Check = Callable[["PreTrainedModel"], Checked]


@dataclass(frozen=True)
class Course:
    """How far a stage has come: iterations, seconds of all sittings, the best look so far, and looks since."""

    step: int = 0
    seconds: float = 0.0
    best: Checked | None = None
    waited: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it speaks well enough, and its lists have been worse for two looks."""
        return self.best is not None and self.best.validity >= VALID and self.waited > 1


def fit_jointly(
    trainer: JointTrainer, log: Callable[[dict[str, float]], None], check: Check | None = None
) -> Checked | None:
    """Iterations until the policy speaks well and its lists no longer get better, the limit, or the time.

    Goes on from the last checkpoint. Leaves in the model the running mean of the weights at the best `check`, the
    last one without a `check`, and returns what that said. Raises TrainingError when a loss is
    not a finite number, or memory or disk run out.
    """
    memory = "warm start: out of memory; lower warm_start.trajectories_per_step, or take a smaller policy"
    with named_failures(trainer.plan.folder, memory):
        best = _iterate(trainer, log, check)
    trainer.items.model.load_state_dict(trainer.best or trainer.averaged.module.state_dict())
    trainer.items.model.eval()
    return best


def _iterate(
    trainer: JointTrainer, log: Callable[[dict[str, float]], None], check: Check | None
) -> Checked | None:
    plan = trainer.plan
    folder = plan.folder / "joint"
    course = _resume(trainer, folder)
    started = time.monotonic() - course.seconds
    size = min(plan.scripts_per_step, len(trainer.scripts))
    order = batched_by_length(trainer.scripts, size, plan.seed)
    every = max(1, min(CHECK_EVERY, plan.steps // 2))
    with progress_bar("Warm start: speaking, without unlearning to read", plan.steps) as bar:
        bar.advance(course.step)
        for batch in islice(bare_windows(trainer.histories, plan), course.step, plan.steps):
            late = plan.minutes is not None and time.monotonic() - started > 60 * plan.minutes
            # Words of users take all iterations: a look at a few hundred can't tell how far each kind is.
            if late or (course.is_over and trainer.heard is None):
                break
            # The order holds whole batches only, perhaps one fewer than there are iterations.
            start = course.step * size % (len(order) // size * size)
            losses = trainer.iterate(course.step, order[start : start + size], batch)
            _refuse_lost(losses, course.step)
            course = replace(course, step=course.step + 1, seconds=time.monotonic() - started)
            bar.advance(1, _note(losses, course))
            if course.step % every == 0 or course.step == plan.steps:
                course, figures = _look(trainer, course, check)
                log(
                    {
                        "step": float(course.step),
                        "loss": losses.spoken,
                        "loss/reading": losses.read,
                        **({"loss/wishes": losses.heard} if trainer.heard else {}),
                        **figures,
                    }
                )
                _save(trainer, folder, course)
    if course.step % every and course.step < plan.steps:  # the time was over between two looks
        course, _ = _look(trainer, course, check)
    return course.best


def _note(losses: Losses, course: Course) -> str:
    best = (
        "" if course.best is None else f", {course.best.validity:.0%} valid, NDCG@10 {course.best.ndcg:.4f}"
    )
    return f"speaks {losses.spoken:.3f}, reads {losses.read:.3f}{best}"


def _look(trainer: JointTrainer, course: Course, check: Check | None) -> tuple[Course, dict[str, float]]:
    """Ask validation users, and keep the weights if they are the best so far."""
    if check is None:
        return course, {}
    found = check(trainer.averaged.module.eval())
    figures = {"heldout/validity": found.validity, "heldout/ndcg@10": found.ndcg}
    if course.best is not None and not found.takes_over(course.best):
        return replace(course, waited=course.waited + 1), figures
    trainer.keep()
    return replace(course, best=found, waited=0), figures


def _refuse_lost(losses: Losses, number: int) -> None:
    if not all(map(math.isfinite, (losses.spoken, losses.read, losses.heard))):
        raise TrainingError(f"warm start: the loss is not a finite number at step {number + 1}; "
                            "lower warm_start.learning_rate")  # fmt: skip


def _save(trainer: JointTrainer, folder: Path, course: Course) -> None:
    best = None if course.best is None else [course.best.validity, course.best.ndcg]
    with whole_folder(folder) as part:
        torch.save(trainer.state(), part / _state_file)
        mark_whole(part, step=course.step, seconds=course.seconds, best=best, waited=course.waited)


def _resume(trainer: JointTrainer, folder: Path) -> Course:
    """How far a checkpoint had come, whose state is taken over; the beginning without one, or for a damaged one."""
    if not folder.is_dir():
        return Course()
    facts = read_whole(folder)
    if isinstance(facts, str):
        _log.warning("%s, so the warm start begins again", facts)
        return Course()
    trainer.restore(torch.load(folder / _state_file, map_location=trainer.device, weights_only=True))
    best = None if facts["best"] is None else Checked(*facts["best"])
    return Course(int(facts["step"]), float(facts["seconds"]), best, int(facts["waited"]))
