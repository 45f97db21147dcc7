"""Where the seconds of an RL step go: the model's own, and all others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from deeprec.bench.rows import Row, make_row
from deeprec.data.dataset import Dataset
from deeprec.errors import EngineError
from deeprec.policy.loading import Policy
from deeprec.rl.selection import select
from deeprec.rl.stage import StageName, build_sampler, stage_settings
from deeprec.rl.trl import StagePlan, build_trainer, quiet_libraries
from deeprec.rollout.engines.local import LocalEngine
from deeprec.run import Run
from deeprec.stages import RECOMMENDATION
from deeprec.trm.base import ExplorableRetriever

_STAGE: StageName = RECOMMENDATION
_WARM_UP = 1  # iterations


@dataclass
class _Step:
    """Seconds of one iteration: all of it, the rollouts, and the model in either half."""

    whole: float = 0.0
    rollouts: float = 0.0
    engine: float = 0.0
    training: float = 0.0

    @property
    def outside_rollouts(self) -> float:
        return self.rollouts - self.engine

    @property
    def outside_training(self) -> float:
        return self.whole - self.rollouts - self.training


class _Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Fills in one `_Step` an iteration; `timed` wraps what counts as the model's own work in training."""

    def __init__(self, engine: LocalEngine, figures: Callable[[], dict[str, float]], updates: int) -> None:
        self.steps: list[_Step] = []
        self._engine, self._figures, self._updates = engine, figures, updates
        self._began = self._optimizer = self._model = 0.0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.steps[-1].training += time.perf_counter() - started

        return run

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._updates == 0:
            self.steps.append(_Step())
            self._began, self._model = time.perf_counter(), self._seconds()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._optimizer = time.perf_counter()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps[-1].training += time.perf_counter() - self._optimizer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._updates == 0:
            step = self.steps[-1]
            step.whole = time.perf_counter() - self._began
            step.engine = self._seconds() - self._model
            step.rollouts = self._figures()["seconds/rollout"]

    def _seconds(self) -> float:
        return self._engine.clock.prefill + self._engine.clock.decode


def step_rows(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    policy: Policy,
    *,
    steps: int,
) -> Iterator[Row]:
    """Seconds outside the model in the quickest of `steps` iterations of stage 2, behind one that warms up.

    The model's own are reading, writing and drawing in rollouts; loss, backward pass and
    optimizer in training. `policy` is trained by it; the run stays as it is.
    """
    best = min(_iterations(run, dataset, trm, policy, steps), key=lambda step: step.whole)
    name = f"a step of {run.config.rl.users_per_step} x {run.config.rl.rollouts_per_user} rollouts"
    outside = {
        "outside the model in rollouts": best.outside_rollouts,
        "outside the model in training": best.outside_training,
        "outside the model in all": best.outside_rollouts + best.outside_training,
    }
    for part, seconds in outside.items():
        yield make_row(part, seconds, "s", name, best.whole)


def _iterations(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    policy: Policy,
    steps: int,
) -> list[_Step]:
    selection = select(dataset, trm, run.config.selection, run.config.seed)
    count = steps + _WARM_UP
    settings = stage_settings(run.config, _STAGE).model_copy(update={"steps": count})
    with tempfile.TemporaryDirectory() as place, quiet_libraries():
        folder = Path(place)
        sampler = replace(
            build_sampler(run, dataset, trm, policy, _STAGE, selection),
            trajectories_file=folder / "trajectories.jsonl",
            failed_file=folder / "failed.jsonl",
        )
        engine = sampler.environment.engine
        if not isinstance(engine, LocalEngine):
            raise EngineError("engine.kind: only `local` tells the model's seconds from all others")
        plan = StagePlan(
            config=run.config.rl.model_copy(update={"save_every": count + 1}),
            stage=settings,
            checkpoints=folder,
            metrics=folder / "metrics.jsonl",
            tensorboard=folder,
        )
        watch = _Stopwatch(engine, lambda: sampler.figures, run.config.rl.updates_per_step)
        trainer = build_trainer(policy, sampler, plan, [watch])
        trainer._compute_loss = watch.timed(trainer._compute_loss)  # type: ignore[method-assign]
        trainer.accelerator.backward = watch.timed(trainer.accelerator.backward)
        trainer.train()
    return watch.steps[_WARM_UP:]
