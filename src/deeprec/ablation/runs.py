"""One sub-run for each variant and seed, beside each other in the run that they take apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deeprec import stages
from deeprec.ablation.sharing import share, share_encoder, share_reading
from deeprec.ablation.variants import Variant, apply
from deeprec.config import RunConfig, override_config
from deeprec.data.dataset import Dataset
from deeprec.data.stage import load_data
from deeprec.errors import ConfigError, EvaluationError, RunLocked, TrainingError
from deeprec.evaluation.heldout import build_heldout
from deeprec.evaluation.stage import run_evaluation
from deeprec.locks import writing
from deeprec.methods import TRM
from deeprec.pipeline import build_recommenders
from deeprec.rl import warm_start
from deeprec.rl.stage import run_rl
from deeprec.rl.stage import stage_inputs as rl_inputs
from deeprec.rl.warm_start import run_warm_start
from deeprec.rollout.environment import check_list_sizes
from deeprec.run import Run
from deeprec.stages import POLICY_STAGES, RLStage
from deeprec.trm import stage as trm_stage
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.stage import run_trm

Part = Literal["test", "validation"]
Announce = Callable[[str], None]
_SLOW = "another process is at work there"


@dataclass(frozen=True)
class Plan:
    """What is to be run: variants (the full method first), seeds, and the policies to evaluate."""

    base: Run
    config: RunConfig  # the base's, with what `--set` changed
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    part: Part = "test"

    def __post_init__(self) -> None:
        """Raise an error, before anything runs, for what can't be run."""
        for method in self.methods:
            if method not in POLICY_STAGES:
                raise EvaluationError(
                    f"--methods: unknown policy '{method}'; known: {', '.join(POLICY_STAGES)}"
                )
        if not self.methods:
            raise EvaluationError(f"--methods: name at least one of {', '.join(POLICY_STAGES)}")
        if self.config.data != self.base.config.data:
            raise ConfigError(
                "--set data...: ablations share the run's data; make another run for other data"
            )
        if self.config.seed != self.base.config.seed:
            raise ConfigError(f"--set seed={self.config.seed}: name the seeds by --seeds")
        self.base.require(stages.DATA)
        self.base.require(stages.TRM)
        check_list_sizes(self.config.rollout, load_data(self.base))

    @property
    def final(self) -> str:
        """The latest of the policies."""
        return max(self.methods, key=POLICY_STAGES.index)

    @property
    def folder(self) -> Path:
        """Where the sub-runs lie."""
        return self.base.folder / "ablations"


@dataclass(frozen=True)
class SubRun:
    """A variant trained with one seed: its run, and why training failed if it did."""

    variant: str
    seed: int
    run: Run
    failure: str | None = None


def plan_configs(plan: Plan, named: Iterable[str] = ()) -> tuple[dict[str, RunConfig], list[str]]:
    """Settings of each variant, and those that the run has nothing of.

    Raises ConfigError where one of the latter is in `named`, or when the full method is all that is left.
    """
    # All seeds share one TRM: what differs between sub-runs is then the policy's doing.
    shared = override_config(plan.config, [f"trm.seed={plan.config.fit_seed}"])
    found, void = {}, []
    for variant in plan.variants:
        config = apply(shared, variant)
        if config is not None:
            found[variant.name] = config
            continue
        if variant.name in set(named):
            raise ConfigError(
                f"variant '{variant.name}' takes nothing away from {plan.base.folder}: its settings are the full "
                "method's; leave it out of --only"
            )
        void.append(variant.name)
    return found, void


def run_all(plan: Plan, configs: dict[str, RunConfig], announce: Announce = lambda _: None) -> list[SubRun]:
    """Every sub-run that is not finished; seeds one after the other, variants within each.

    Another process that runs the same may share the work: what it is at is left until the end.
    A variant whose training fails (it may have collapsed) is kept with the reason.
    """
    pending = [(name, seed) for seed in plan.seeds for name in configs]
    done: dict[tuple[str, int], SubRun] = {}
    for wait in (False, True):  # what another process is at comes last, and is waited for then
        for name, seed in [entry for entry in pending if entry not in done]:
            found = _run_one(plan, configs[name], name, seed, announce, wait=wait)
            if found is not None:
                done[name, seed] = found
    return [done[entry] for entry in pending]


def _run_one(
    plan: Plan, config: RunConfig, name: str, seed: int, announce: Announce, *, wait: bool
) -> SubRun | None:
    folder = plan.folder / f"{name}-seed{seed}"
    try:
        with writing(folder, wait=wait):
            run = Run.create(folder, config.model_copy(update={"seed": seed}))
            _run_stages(plan, run, lambda stage: announce(f"{name}, seed {seed}: {stage}"))
    except RunLocked:
        announce(f"{name}, seed {seed}: {_SLOW}")
        return None
    except TrainingError as error:
        announce(f"{name}, seed {seed}: failed: {error}")
        return SubRun(name, seed, run, str(error))
    return SubRun(name, seed, run)


def _run_stages(plan: Plan, run: Run, announce: Announce) -> None:
    """The stages that the policies need, taken from another run where one has them, and the evaluation."""
    donors = list(_donors(plan, run))
    share(run, stages.DATA, plan.base.require(stages.DATA)["inputs"], donors)
    dataset = load_data(run)
    wanted = trm_stage.stage_inputs(run, dataset).fingerprint
    share(run, stages.TRM, wanted, donors)
    if not run.is_current(stages.TRM, wanted):
        announce(stages.TRM)
    share_encoder(run, dataset, donors)
    trm = run_trm(run, dataset)
    _train_policies(plan, run, dataset, trm, donors, announce)
    announce(stages.EVALUATION)
    recommenders = build_recommenders(run, (TRM, *sorted(plan.methods, key=POLICY_STAGES.index)))
    run_evaluation(run, dataset, trm, recommenders, plan.part)


def _train_policies(
    plan: Plan,
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    donors: Sequence[Run],
    announce: Announce,
) -> None:
    before = run.finished()[stages.TRM]["inputs"]
    for stage in POLICY_STAGES[: POLICY_STAGES.index(plan.final) + 1]:
        if stage == stages.WARM_START:
            inputs = warm_start.stage_inputs(run.config, before).fingerprint
        else:
            inputs = rl_inputs(run.config, dataset, _rl_name(stage), before).fingerprint
        share(run, stage, inputs, donors)
        if not run.is_current(stage, inputs):
            announce(stage)
        if stage == stages.WARM_START:
            share_reading(run, donors)
            run_warm_start(run, dataset, trm)
        else:
            name = _rl_name(stage)
            run_rl(run, dataset, trm, name, build_heldout(run, dataset, trm, name))
        before = inputs


def _rl_name(stage: str) -> RLStage:
    return stages.COLD_START if stage == stages.COLD_START else stages.RECOMMENDATION


def _donors(plan: Plan, run: Run) -> Iterator[Run]:
    """The run that is taken apart, then the other sub-runs, by name."""
    yield plan.base
    for file in sorted(plan.folder.glob("*/run.toml")):
        if file.parent != run.folder:
            yield Run.open(file.parent)
