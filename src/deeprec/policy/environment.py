"""The one place that builds what a policy's episodes run in: engine, codec, list maker, device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.config import PolicyConfig, RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.device import best_device
from deeprec.errors import RunError
from deeprec.policy.loading import Policy, load_policy
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.build import build_engine
from deeprec.rollout.environment import Environment
from deeprec.rollout.list_makers import ListMaker, RetrievedLists
from deeprec.rollout.masked import MaskedLists
from deeprec.run import Run
from deeprec.stages import READING
from deeprec.trm.base import Retriever

if TYPE_CHECKING:
    from deeprec.rollout.engines.base import Engine


def build_environment(
    run: Run,
    dataset: Dataset,
    retriever: Retriever,
    policy: Policy,
    *,
    rollout: RolloutConfig | None = None,
    drawn: int = 1,
) -> Environment:
    """What episodes of this policy run in, on the engine that the settings name; on a GPU where there is one.

    `rollout` takes the place of the run's own protocol; `drawn` lists are drawn of each that is sampled. The policy
    may be trained on afterwards: engine and lists follow its weights.
    """
    config, protocol = run.config, rollout or run.config.rollout
    if config.engine.kind == "local":
        policy.model.to(best_device())  # vLLM has a copy of its own there
    engine = build_engine(config, policy.model, policy.codec, seed=config.seed)
    lists = _list_maker(run, dataset, retriever, policy, protocol, drawn)
    return Environment(dataset, retriever, engine, policy.codec, protocol, lists=lists)


def build_remote_environment(
    run: Run, dataset: Dataset, retriever: Retriever, engine: Engine, codec: TokenizerCodec, folder: Path
) -> Environment:
    """What episodes of the policy in `folder` run in while another process writes its words, behind `engine`.

    A masked list needs the probabilities of whole titles, which a server doesn't tell: for that the policy itself
    is loaded here as well.
    """
    protocol = run.config.rollout
    lists: ListMaker | None = RetrievedLists(protocol.recommended) if protocol.list == "retrieved" else None
    if protocol.list == "masked":
        policy = load_policy(str(folder), _whole(run))
        policy.model.to(best_device())
        lists = _list_maker(run, dataset, retriever, policy, protocol, drawn=1)
    return Environment(dataset, retriever, engine, codec, protocol, lists=lists)


def _list_maker(
    run: Run, dataset: Dataset, retriever: Retriever, policy: Policy, protocol: RolloutConfig, drawn: int
) -> ListMaker | None:
    """What fills opened lists; None where the policy writes on."""
    if protocol.list == "free":
        return None
    if protocol.list == "retrieved":
        return RetrievedLists(protocol.recommended)
    config = run.config
    return MaskedLists(
        policy.model, policy.codec, dataset, retriever, protocol, seed=config.seed, drawn=drawn,
        wish_weight=config.wishes.weight,
    )  # fmt: skip


def load_reading(run: Run) -> Policy | None:
    """The policy as it had read histories, before it learned to speak; None where none reads.

    Raises RunError where its weights are gone.
    """
    if not run.config.warm_start.reads:
        return None
    folder = run.policy(READING)
    if not folder.is_dir():
        raise RunError(f"{folder}: is gone; run `deeprec policy init`")
    policy = load_policy(str(folder), _whole(run))
    policy.model.to(best_device())
    return policy


def _whole(run: Run) -> PolicyConfig:
    """Adapters belong to RL: what is saved is whole."""
    return run.config.policy.model_copy(update={"lora_rank": 0})
