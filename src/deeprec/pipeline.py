"""The stages in order, and what is built from a run folder."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.recommender import Recommender
from deeprec.rivals.registry import load_rival, rival_names
from deeprec.run import RIVAL, Run

if TYPE_CHECKING:
    from deeprec.rl.stage import StageName
    from deeprec.rollout.recommender import DeepRecRecommender
    from deeprec.trm.base import ExplorableRetriever

POLICIES = ("warm_start", "cold_start", "recommendation")
METHODS = ("popularity", "trm", "trm-refit", *POLICIES)
RERANKED = "trm-reranked"  # the TRM's plain list, in the order of the reader
DATED = "trm-dated"  # the TRM, asked by rule for the month of the latest item
PSEUDONYMS = "@pseudonyms"  # behind a policy's name: the same policy, shown made-up titles
ORACLE = "oracle"  # knows the simulation's probabilities: the ceiling, on simulated data only


def run_pipeline(run: Run, announce: Callable[[str], None] = lambda _: None) -> Path:
    """Every stage of a run that is not up to date; returns the path of the report.

    `announce` hears the name of each stage before it starts.
    """
    from deeprec.data.stage import run_data
    from deeprec.evaluation.heldout import build_heldout
    from deeprec.evaluation.report import write_report
    from deeprec.evaluation.stage import run_evaluation
    from deeprec.rl.extras import require_extra
    from deeprec.rl.stage import run_rl
    from deeprec.rl.warm_start import run_warm_start
    from deeprec.rollout.environment import check_list_sizes
    from deeprec.trm.refit import run_trm_refit
    from deeprec.trm.stage import run_trm

    require_extra()  # now, not after the TRM's minutes
    announce("data")
    dataset = run_data(run)
    check_list_sizes(run.config.rollout, dataset)  # now, not after the TRM's minutes
    announce("trm")
    trm = run_trm(run, dataset)
    announce("warm_start")
    run_warm_start(run, dataset, trm)
    stages: tuple[StageName, ...] = ("cold_start", "recommendation")
    for stage in stages:
        announce(stage)
        run_rl(run, dataset, trm, stage, build_heldout(run, dataset, trm, stage))
    announce("trm_refit")
    run_trm_refit(run, dataset)
    announce("evaluation")
    run_evaluation(run, dataset, trm, build_recommenders(run, trained_methods(run), (dataset, trm)))
    announce("report")
    return write_report(run)


def known_methods(config: RunConfig) -> tuple[str, ...]:
    """Every method that a run with these settings makes by itself; rivals come besides (`trained_methods`).

    Where a reader reranks, the TRM's plain list in its order is a rival: that much is worth nobody's asking.
    Where the prompt shows dates, or wishes may say `now`, the TRM that is always told the month of the latest item is a
    rival too: it knows what the policy knows.
    """
    dated = (DATED,) if config.rollout.now or "date" in config.rollout.prompt_fields else ()
    oracle = (ORACLE,) if config.data.name == "synthetic" else ()
    reads = config.rollout.answer == "reranked" and config.warm_start.reads
    return (*METHODS, *dated, *((RERANKED,) if reads else ()), *oracle)


def trained_methods(run: Run) -> list[str]:
    """The methods that the settings name; none: all whose parts are there, fitted rivals included."""
    finished = run.finished()
    needed = {"trm-refit": "trm_refit", RERANKED: "warm_start"} | {name: name for name in POLICIES}
    chosen = run.config.evaluation.methods
    known = [*known_methods(run.config), *(name for name in rival_names() if RIVAL + name in finished)]
    return [name for name in chosen or known if name not in needed or needed[name] in finished]


def load_stages(run: Run) -> tuple[Dataset, ExplorableRetriever]:
    """Data set and TRM of a run; raises RunError naming the command that makes a missing one."""
    from deeprec.data.format import read_dataset
    from deeprec.trm.stage import load_trm

    run.require("data", "deeprec data prepare")
    dataset = read_dataset(run.data)
    run.require("trm", "deeprec trm fit")
    return dataset, load_trm(run, dataset)


def build_recommenders(
    run: Run, methods: Sequence[str], stages: tuple[Dataset, ExplorableRetriever] | None = None
) -> dict[str, Recommender]:
    """The named methods of a run, ready to rank. None fills in for a failure.

    `stages` are the run's data set and TRM, if they are loaded already.

    Raises EvaluationError for an unknown name, RunError for one that has not been trained.
    """
    from deeprec.data.pseudonyms import pseudonymise
    from deeprec.data.synthetic import oracle
    from deeprec.evaluation.recommenders import TRMRecommender
    from deeprec.trm.baselines import Popularity
    from deeprec.trm.refit import load_trm_refit

    shown = tuple(f"{name}{PSEUDONYMS}" for name in POLICIES)
    known = (*known_methods(run.config), *shown, *rival_names())
    for method in methods:
        if method not in known:
            near = difflib.get_close_matches(method, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise EvaluationError(f"unknown method '{method}'{hint}; known: {', '.join(known)}")
    dataset, trm = stages or load_stages(run)
    found: dict[str, Recommender] = {}
    for method in methods:
        if method == "trm":
            found[method] = TRMRecommender(trm, dataset)
        elif method == "trm-refit":
            found[method] = TRMRecommender(load_trm_refit(run, dataset), dataset, name=method)
        elif method == DATED:
            found[method] = TRMRecommender(trm, dataset, name=method, dated=True)
        elif method == RERANKED:
            found[method] = _build_reranked(run, dataset, trm)
        elif method == "popularity":
            found[method] = TRMRecommender(Popularity.fit(dataset), dataset, name=method)
        elif method == ORACLE:
            settings = run.config.data.synthetic
            found[method] = oracle(settings, settings.seed, dataset)
        elif method in rival_names():
            found[method] = load_rival(run, dataset, trm, method)
        elif method.endswith(PSEUDONYMS):
            renamed = pseudonymise(dataset)
            found[method] = build_deeprec(run, renamed, trm, method.removesuffix(PSEUDONYMS), name=method)
        else:
            found[method] = build_deeprec(run, dataset, trm, method)
    return found


def _build_reranked(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> Recommender:
    from deeprec.policy.environment import READER, load_reader
    from deeprec.policy.loading import load_tokenizer
    from deeprec.rollout.codec import TokenizerCodec
    from deeprec.rollout.reranked import RerankedTRM

    run.require("warm_start", "deeprec policy init")
    reader = load_reader(run, dataset, TokenizerCodec(load_tokenizer(str(run.policy(READER)))))
    if reader is None:
        raise EvaluationError(f"method '{RERANKED}': this run has no reader; set warm_start.reading_epochs")
    return RerankedTRM(trm, reader, dataset, run.config.rollout, RERANKED)


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
        run.require(stage, "deeprec policy init" if stage == "warm_start" else "deeprec train")
    policy = load_policy(str(folder), run.config.policy)
    environment = build_environment(run, dataset, trm, policy)
    return DeepRecRecommender(
        name or folder.name, environment, fill_in=fill_in, inference=run.config.inference
    )
