"""Which engine generates for a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeprec.config import RunConfig
from deeprec.rollout.codec import Codec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from deeprec.rollout.engines.local import LocalEngine
    from deeprec.rollout.engines.vllm import VLLMEngine


def build_engine(
    config: RunConfig, model: PreTrainedModel, codec: Codec, *, seed: int
) -> LocalEngine | VLLMEngine:
    """The engine that `engine.kind` names, on a model that may go on being trained.

    Raises MissingExtraError where it needs an extra that is not installed.
    """
    if config.engine.kind == "vllm":
        from deeprec.rollout.engines.vllm import VLLMEngine

        in_half = config.rl.autocast or config.policy.dtype == "bfloat16"
        return VLLMEngine(
            model,
            codec,
            seed=seed,
            memory=config.engine.vllm_memory,
            sequences=config.rollout.users_per_batch,
            dtype="bfloat16" if in_half else "float32",
        )
    from deeprec.rollout.engines.local import LocalEngine

    return LocalEngine(model, codec, seed=seed)
