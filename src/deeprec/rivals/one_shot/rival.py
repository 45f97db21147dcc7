"""The two one-shot rivals, as the registry knows them.

Unlike other rivals they are not fitted on everything before validation as one: the TRM whose lists
they learn to reorder must not have seen the targets that they learn from. So they keep the
data's own parts, and learn from the same targets as DeepRec does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from deeprec import methods
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset
from deeprec.recommender import Recommender
from deeprec.rivals.registry import Rival
from deeprec.run import Run, fingerprint
from deeprec.stages import RIVAL, TRM
from deeprec.trm.base import ExplorableRetriever

SUPERVISED, REINFORCED = methods.TRM_ENHANCED_SFT, methods.TRM_ENHANCED
_ONLY_RL = {"rl_steps"}
_UNUSED_ROLLOUT = {"retrieved", "answer", "max_retrievals", "new_items_only", "users_per_batch",
                   "reranker_weight", "reranker_history"}  # fmt: skip
# Settings that say how RL is watched, and leave its weights as they are.
_WITHOUT_EFFECT = {"cold_start", "save_every", "evaluate_every", "evaluate_users", "trajectories_per_pass"}


def _supervised_settings(run: Run) -> dict[str, Any]:
    config = run.config
    return {
        "one_shot": config.rivals.one_shot.model_dump(exclude=_ONLY_RL),
        "rollout": config.rollout.model_dump(exclude=_UNUSED_ROLLOUT),
        "policy": config.policy.model_dump(),
        "steps": config.warm_start.model_dump(
            include={"facts", "trajectories_per_step", "learning_rate", "weight_decay"}
        ),
    }


def _reinforced_settings(run: Run) -> dict[str, Any]:
    before = run.require(RIVAL + SUPERVISED)
    return {
        "start": before["inputs"],
        "steps": run.config.rivals.one_shot.rl_steps,
        "rl": run.config.rl.model_dump(exclude=_WITHOUT_EFFECT),
        "sampling": run.config.rollout.model_dump(include={"temperature", "top_p"}),
    }


def _fit_supervised(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    from deeprec.rivals.one_shot.learning import fit_supervised

    work = _work(run, SUPERVISED, _supervised_settings(run))
    return fit_supervised(run, read_dataset(run.data), trm, SUPERVISED, folder, work)


def _fit_reinforced(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    from deeprec.rivals.one_shot.learning import POLICY, fit_reinforced

    work = _work(run, REINFORCED, _reinforced_settings(run))
    start = run.rival(SUPERVISED) / POLICY
    return fit_reinforced(run, read_dataset(run.data), trm, REINFORCED, start, folder, work)


def _work(run: Run, name: str, settings: dict[str, Any]) -> Path:
    """Where checkpoints lie while a fit goes on; those of other inputs stay until it is finished."""
    inputs = fingerprint(run.finished()[TRM]["inputs"], run.config.seed, settings)
    return run.rival(name).with_name(f"{name}.checkpoints") / inputs


def _load(name: str, run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> Recommender:
    from deeprec.policy.loading import load_policy
    from deeprec.rivals.one_shot.learning import POLICY, build_one_shot
    from deeprec.rivals.one_shot.recommender import OneShotRecommender

    plain = run.config.policy.model_copy(update={"lora_rank": 0})  # adapters are merged when saved
    policy = load_policy(str(folder / POLICY), plain)
    environment = build_one_shot(run, dataset, trm, policy)
    return OneShotRecommender(name, environment, ranking=run.config.rivals.one_shot.ranking)


TRM_ENHANCED_SFT = Rival(
    summary="a language model that ranks the TRM's list in one prompt, by supervised learning",
    settings=_supervised_settings,
    fit=_fit_supervised,
    load=partial(_load, SUPERVISED),
)
TRM_ENHANCED = Rival(
    summary="the same, trained on by RL with outcome rewards",
    settings=_reinforced_settings,
    fit=_fit_reinforced,
    load=partial(_load, REINFORCED),
)
