"""The one place that builds what a policy's episodes run in: engine, codec, list writer, device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.device import best_device
from deeprec.errors import ConfigError, RunError
from deeprec.policy.loading import Policy, load_policy
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.build import build_engine
from deeprec.rollout.environment import Environment
from deeprec.rollout.lists import ListWriter
from deeprec.run import Run
from deeprec.trm.base import Retriever

if TYPE_CHECKING:
    from deeprec.rollout.engines.base import Engine

READER = "reading"  # folder of the weights as they had read, beside those of the stages


def build_environment(
    run: Run,
    dataset: Dataset,
    retriever: Retriever,
    policy: Policy,
    *,
    rollout: RolloutConfig | None = None,
) -> Environment:
    """What episodes of this policy run in, on the engine that the settings name; on a GPU where there is one.

    `rollout` takes the place of the run's own protocol. The policy may be trained on afterwards: engine and lists
    follow its weights. Raises RunError where the reader's weights are gone.
    """
    config, protocol = run.config, rollout or run.config.rollout
    if config.engine.kind == "local":
        policy.model.to(best_device())  # vLLM has a copy of its own there
    engine = build_engine(config, policy.model, policy.codec, seed=config.seed)
    reader = load_reader(run, dataset, policy.codec) if protocol.answer == "reranked" else None
    lists = ListWriter(policy.model, policy.codec, dataset.catalog, reader)
    return Environment(dataset, retriever, engine, policy.codec, protocol, lists=lists)


def build_remote_environment(
    run: Run, dataset: Dataset, retriever: Retriever, engine: Engine, codec: Codec
) -> Environment:
    """What episodes of a policy run in whose weights another process holds, behind `engine`.

    Raises ConfigError for settings that ask the policy's own probabilities, RunError where the reader's weights are
    gone.
    """
    config = run.config
    reader = load_reader(run, dataset, codec) if config.rollout.answer == "reranked" else None
    if config.rollout.answer == "reranked" and reader is None:
        raise ConfigError(
            "rollout.answer = 'reranked' without warm_start.reading_epochs asks the policy itself, which is not "
            "in this process; add --set rollout.answer=retrieved"
        )
    if config.rollout.answer == "written" and config.inference.ranking not in ("generate", "retrieved"):
        raise ConfigError(
            f"inference.ranking = '{config.inference.ranking}' needs the policy in this process; "
            "add --set inference.ranking=generate"
        )
    return Environment(dataset, retriever, engine, codec, config.rollout, lists=reader)


def load_reader(run: Run, dataset: Dataset, codec: Codec) -> ListWriter | None:
    """The policy as it had read histories, which reranks for every policy of the run; None where none reads.

    What reading taught does not outlive the scripts (docs/log.md), so the weights from before them are kept.
    `codec` is that of any policy of the run. Raises RunError where they are gone.
    """
    if not run.config.warm_start.reads:
        return None
    folder = run.policy(READER)
    if not folder.is_dir():
        raise RunError(
            f"{folder}: is gone, and reranks for every policy of this run; run `deeprec policy init`"
        )
    # Adapters belong to RL: the reader was saved whole.
    whole = run.config.policy.model_copy(update={"lora_rank": 0})
    reader = ListWriter(load_policy(str(folder), whole).model, codec, dataset.catalog)
    reader.to(best_device())
    return reader
