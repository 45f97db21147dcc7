"""The stages in order, and what is built from a run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.methods import (
    METHODS,
    Method,
    askable_methods,
    find_method,
    known_methods,
    own_rivals,
    wish_methods,
)
from deeprec.recommender import Recommender
from deeprec.references import is_reference, load_reference
from deeprec.run import Run, writes
from deeprec.stages import DATA, EVALUATION, RL_STAGES, TRM, TRM_REFIT, WARM_START

if TYPE_CHECKING:
    from deeprec.rollout.recommender import DeepRecRecommender
    from deeprec.trm.base import ExplorableRetriever


@writes
def run_pipeline(run: Run, announce: Callable[[str], None] = lambda _: None) -> Path:
    """Every stage of a run that is not up to date; returns the path of the report.

    `announce` hears the name of each stage before it starts.
    """
    from deeprec.evaluation.heldout import build_heldout
    from deeprec.evaluation.report import write_report
    from deeprec.evaluation.stage import run_evaluation
    from deeprec.rl.stage import run_rl
    from deeprec.trm.refit import run_trm_refit

    dataset, trm = prepare_policy(run, announce)
    for stage in RL_STAGES:
        announce(stage)
        run_rl(run, dataset, trm, stage, build_heldout(run, dataset, trm, stage))
    announce(TRM_REFIT)
    run_trm_refit(run, dataset)
    announce(EVALUATION)
    run_evaluation(run, dataset, trm, build_recommenders(run, trained_methods(run), (dataset, trm)))
    announce("report")
    return write_report(run)


@writes
def prepare_policy(
    run: Run, announce: Callable[[str], None] = lambda _: None
) -> tuple[Dataset, ExplorableRetriever]:
    """The stages before RL that are not up to date: data, TRM, and a policy that has been warm-started.

    Refuses, before anything is made, what the stages of RL would refuse.
    """
    from deeprec.data.preconditions import check_targets
    from deeprec.data.stage import run_data
    from deeprec.rl.extras import require_extra
    from deeprec.rl.warm_start import run_warm_start
    from deeprec.rollout.environment import check_list_sizes
    from deeprec.trm.stage import run_trm

    require_extra()  # now, not after the TRM's minutes
    check_ahead(run.config)
    announce(DATA)
    dataset = run_data(run)
    # Now, not after the TRM's minutes:
    check_targets(dataset, run.config)
    check_list_sizes(run.config.rollout, dataset)
    _check_titles(run.config, dataset)
    announce(TRM)
    trm = run_trm(run, dataset)
    announce(WARM_START)
    run_warm_start(run, dataset, trm)
    return dataset, trm


def check_ahead(config: RunConfig) -> None:
    """Raise, before anything is made, for what a later stage would refuse: what settings name, ours or your own.

    ConfigError for a reader, TRM, prompt, engine or reward part, EvaluationError for a method.
    """
    from deeprec.data.readers.own import load_reader
    from deeprec.rl.stage import stage_settings
    from deeprec.rollout.engines.build import check_engine
    from deeprec.rollout.protocol import template_of
    from deeprec.trm.kinds import check_kind

    if is_reference(config.data.name):
        load_reader(config.data.name)
    check_kind(config.trm)
    check_engine(config.engine.kind)
    template_of(config.rollout.template)
    for stage in RL_STAGES:
        stage_settings(config, stage)
    for name in config.evaluation.methods:
        find_method(name, askable_methods(config))


def _check_titles(config: RunConfig, dataset: Dataset) -> None:
    """Raise PolicyError for titles that a pretrained policy can't write, where it is to write lists."""
    from deeprec.policy.loading import load_tokenizer
    from deeprec.policy.titles import check_titles
    from deeprec.rollout.codec import TokenizerCodec

    if config.policy.model != "tiny" and config.rollout.list == "free":  # the tiny one is made of the titles
        codec = TokenizerCodec(load_tokenizer(config.policy.model))
        check_titles(codec, dataset.catalog, config.policy.model)


def trained_methods(run: Run) -> list[str]:
    """The methods that the settings name; none: all whose parts are there, fitted rivals included."""
    finished = run.finished()
    known = known_methods(run.config)
    trained = [
        method.name
        for method in METHODS
        if (method.name in known or method.rival is not None)
        and all(stage in finished for stage in method.needs)
    ]
    return list(run.config.evaluation.methods) or [*trained, *own_rivals(finished)]


def load_stages(run: Run) -> tuple[Dataset, ExplorableRetriever]:
    """Data set and TRM of a run; raises RunError naming the command that makes a missing one."""
    from deeprec.data.format import read_dataset
    from deeprec.trm.stage import load_trm

    run.require(DATA)
    dataset = read_dataset(run.data)
    run.require(TRM)
    return dataset, load_trm(run, dataset)


def build_recommenders(
    run: Run, methods: Sequence[str], stages: tuple[Dataset, ExplorableRetriever] | None = None
) -> dict[str, Recommender]:
    """The named methods of a run, ready to rank. None fills in for a failure.

    `stages` are the run's data set and TRM, if they are loaded already.

    Raises EvaluationError for an unknown name, RunError for one that has not been trained.
    """
    chosen = [find_method(name, askable_methods(run.config)) for name in methods]
    dataset, trm = stages or load_stages(run)
    for method in chosen:  # all of them, before minutes go into the first
        for stage in method.needs:
            run.require(stage)
    return {method.name: _build(run, dataset, trm, method) for method in chosen}


def build_wishing(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, names: Sequence[str] = ()
) -> dict[str, Recommender]:
    """The named methods of the protocol of simulated wishes; none: all that suit the run and whose parts are there.

    Of policies that is the last one.

    Raises EvaluationError for an unknown name, RunError for one that has not been trained.
    """
    known, finished = wish_methods(), run.finished()
    chosen = [find_method(name, known) for name in names]
    if not names:
        suiting = [one for one in map(find_method, known) if one.suits(run.config)]
        whole = [one for one in suiting if all(stage in finished for stage in one.needs)]
        policies = [one.policy for one in whole if one.policy is not None]
        chosen = [one for one in whole if one.policy is None or one.policy == policies[-1]]
    return {method.name: _build(run, dataset, trm, method) for method in chosen}


def _build(run: Run, dataset: Dataset, trm: ExplorableRetriever, method: Method) -> Recommender:
    for stage in method.needs:
        run.require(stage)
    found: Recommender = load_reference(method.build, f"method '{method.name}'")(
        run, dataset, trm, method.name
    )
    return found


def build_deeprec(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    stage: str | None = None,
    *,
    name: str | None = None,
    fill_in: bool = False,
) -> DeepRecRecommender:
    """DeepRec with the policy of `stage` (none: the last one trained), called `name` in tables (none: as the stage)."""
    from deeprec.policy.environment import build_environment
    from deeprec.policy.loading import load_policy
    from deeprec.rollout.recommender import DeepRecRecommender

    folder = run.last_policy() if stage is None else run.policy(stage)
    if stage is not None:
        run.require(stage)
    policy = load_policy(str(folder), run.config.policy)
    environment = build_environment(run, dataset, trm, policy)
    return DeepRecRecommender(
        name or folder.name,
        environment,
        fill_in=fill_in,
        inference=run.config.inference,
        seed=run.config.seed,
    )
