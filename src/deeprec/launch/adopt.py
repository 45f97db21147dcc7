"""A policy that was trained elsewhere as a stage of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.data.dataset import Dataset
from deeprec.errors import PolicyError
from deeprec.launch.agent import check_agent
from deeprec.ledger import write_ledger
from deeprec.rl.selection import select
from deeprec.rl.stage import STARTS_FROM, stage_inputs, stage_settings
from deeprec.run import Run, writes
from deeprec.space import LOGS, require_space, size_of
from deeprec.stages import RLStage

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from deeprec.trm.base import ExplorableRetriever

# What two policies must share, or one was not trained from the other.
_SHAPE = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


@writes
def adopt_policy(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path, stage: RLStage) -> None:
    """Make the model in `folder`, as OpenRLHF saves it, the policy of a stage; the tokenizer stays the run's own.

    The record says that it was adopted, and what the stage would have been trained on. Raises ConfigError for settings
    that OpenRLHF can't train with, PolicyError for a model of another shape than the policy that the stage starts
    from, RunError where that one is missing.
    """
    from transformers import AutoConfig

    from deeprec.policy.loading import load_causal_lm, load_tokenizer, save_policy

    check_agent(run.config)
    before = STARTS_FROM[stage]
    inputs = stage_inputs(run.config, dataset, stage, run.require(before)["inputs"])
    start = run.policy(before)
    model, _ = load_causal_lm(str(folder), run.config.policy.dtype, "FOLDER")
    _check_shape(AutoConfig.from_pretrained(start, trust_remote_code=False), model.config, folder, before)
    tokenizer = load_tokenizer(str(start))
    selection = select(dataset, trm, run.config.selection, run.config.seed)
    require_space(run.folder, size_of(start) + LOGS, f"stage '{stage}'")
    inputs.begin(run)
    write_ledger(run, stage, selection.pool(stage))
    save_policy(model, tokenizer, run.policy(stage))
    steps = stage_settings(run.config, stage).steps
    inputs.finish(run, 0.0, steps=steps, selection=selection.counts, adopted=str(folder))


def _check_shape(start: PretrainedConfig, other: PretrainedConfig, folder: Path, before: str) -> None:
    for key in _SHAPE:
        ours, theirs = (getattr(one, key, None) for one in (start, other))
        if ours != theirs:
            raise PolicyError(
                f"{folder}: {key} = {theirs}, the policy of '{before}' has {ours}: it was not trained from that "
                "one; name the folder that OpenRLHF wrote for this stage"
            )
