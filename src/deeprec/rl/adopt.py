"""A policy that was trained elsewhere as a stage of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.data.dataset import Dataset
from deeprec.errors import PolicyError
from deeprec.ledger import write_ledger
from deeprec.rl.stage import STARTS_FROM, stage_examples, stage_inputs
from deeprec.run import Run, writes
from deeprec.stages import RLStage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deeprec.trm.base import ExplorableRetriever

# What two policies must share, or one was not trained from the other.
_SHAPE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


@writes
def adopt_policy(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path, stage: RLStage) -> None:
    """Make the model in `folder`, as OpenRLHF saves it, the policy of a stage; the tokenizer stays the run's own.

    The record says that it was adopted, and what the stage would have been trained on. Raises PolicyError for a
    model of another shape than the policy that the stage starts from, RunError where that one is missing.
    """
    from deeprec.policy.loading import load_causal_lm, load_policy, save_policy

    before = STARTS_FROM[stage]
    record = run.require(before)
    inputs = stage_inputs(run.config, dataset, stage, record["inputs"])
    config = run.config.policy.model_copy(update={"lora_rank": 0})
    start = load_policy(str(run.policy(before)), config)
    model, _ = load_causal_lm(str(folder), config.dtype)
    _check_shape(start.model, model, folder, before)
    examples = stage_examples(run, dataset, trm, stage)
    inputs.begin(run)
    write_ledger(run, stage, examples)
    save_policy(model, start.tokenizer, run.policy(stage))
    inputs.finish(run, 0.0, adopted=folder.name)


def _check_shape(start: PreTrainedModel, model: PreTrainedModel, folder: Path, before: str) -> None:
    for key in _SHAPE:
        ours, theirs = (getattr(one.config, key, None) for one in (start, model))
        if ours != theirs:
            raise PolicyError(
                f"{folder}: {key} = {theirs}, the policy of '{before}' has {ours}: it was not trained from that "
                "one; name the folder that OpenRLHF wrote for this stage"
            )
