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
from deeprec.contents import model_files, module_files, present
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset
from deeprec.inputs import constants_of
from deeprec.recommender import Recommender
from deeprec.rivals.registry import Rival, rival_inputs
from deeprec.rl.extras import require_extra
from deeprec.run import Run
from deeprec.stages import RIVAL
from deeprec.trm.base import ExplorableRetriever

SUPERVISED, REINFORCED = methods.TRM_ENHANCED_SFT, methods.TRM_ENHANCED


def _supervised_others(run: Run) -> dict[str, Any]:
    from deeprec.policy import tiny
    from deeprec.rivals.one_shot.prompts import specimen_prompt
    from deeprec.rl import recipe, supervised

    return {
        "prompts": specimen_prompt(run.config.rollout),
        "tokenizer": recipe.tokenizer(run.config.policy),
        "constants": constants_of(tiny, supervised),
        **present(files_of_the_model=model_files(run.config.policy.model)),
    }


def _reinforced_others(run: Run) -> dict[str, Any]:
    from deeprec.rl import advantages, recipe

    before = run.require(RIVAL + SUPERVISED)
    return {
        "the_supervised_model": before["inputs"],
        "rewards": recipe.rewards(run.config.rl.recommendation.weights),
        "constants": constants_of(advantages),
        **present(
            your_rewards=recipe.own_rewards(run.config.rl.recommendation.weights),
            your_engine=module_files([run.config.engine.kind]),
        ),
    }


def _fit_supervised(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    from deeprec.rivals.one_shot.learning import fit_supervised

    return fit_supervised(
        run, read_dataset(run.data), trm, SUPERVISED, folder, _work(run, SUPERVISED, TRM_ENHANCED_SFT)
    )


def _fit_reinforced(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    from deeprec.rivals.one_shot.learning import POLICY, fit_reinforced

    start = run.rival(SUPERVISED) / POLICY
    return fit_reinforced(
        run, read_dataset(run.data), trm, REINFORCED, start, folder, _work(run, REINFORCED, TRM_ENHANCED)
    )


def _check(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
    require_extra()  # before what it brings is imported
    from deeprec.rivals.one_shot.learning import check_size

    check_size(run.config, dataset)


def _work(run: Run, name: str, rival: Rival) -> Path:
    """Where checkpoints lie while a fit goes on; those of other inputs stay until it is finished."""
    inputs = rival_inputs(run, name, rival).fingerprint
    return run.rival(name).with_name(f"{name}.checkpoints") / inputs


def _load(name: str, run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> Recommender:
    from deeprec.policy.loading import load_policy
    from deeprec.rivals.one_shot.learning import POLICY, build_one_shot
    from deeprec.rivals.one_shot.recommender import OneShotRecommender
    from deeprec.rollout.lists import ListWriter

    plain = run.config.policy.model_copy(update={"lora_rank": 0})  # adapters are merged when saved
    policy = load_policy(str(folder / POLICY), plain)
    environment = build_one_shot(run, dataset, trm, policy)
    writer = ListWriter(policy.model, policy.codec, dataset.catalog)
    return OneShotRecommender(name, environment, ranking=run.config.rivals.one_shot.ranking, writer=writer)


TRM_ENHANCED_SFT = Rival(
    summary="a language model that ranks the TRM's list in one prompt, by supervised learning",
    others=_supervised_others,
    fit=_fit_supervised,
    load=partial(_load, SUPERVISED),
    check=_check,
)
TRM_ENHANCED = Rival(
    summary="the same, trained on by RL with outcome rewards",
    others=_reinforced_others,
    fit=_fit_reinforced,
    load=partial(_load, REINFORCED),
    check=_check,
)
