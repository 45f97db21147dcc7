"""Which engine generates for a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deeprec.config import RunConfig
from deeprec.references import check_members, load_function
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Engine

if TYPE_CHECKING:
    from transformers import PreTrainedModel


OURS = ("local", "vllm")
_CONTRACT = ("context_length", "generate", "reseed", "forget")


def build_engine(config: RunConfig, model: PreTrainedModel, codec: Codec, *, seed: int) -> Engine:
    """The engine that `engine.kind` names, on a model that may go on being trained.

    Raises MissingExtraError where it needs an extra that is not installed, ConfigError for one of your own that
    can't be used.
    """
    if config.engine.kind == "vllm":
        from deeprec.rollout.engines.vllm import VLLMEngine

        in_half = config.rl.autocast or config.policy.dtype == "bfloat16"
        return VLLMEngine(
            model,
            seed=seed,
            memory=config.engine.vllm_memory,
            sequences=config.rollout.users_per_batch,
            context_length=config.engine.context,
            dtype="bfloat16" if in_half else "float32",
        )
    if config.engine.kind == "local":
        from deeprec.rollout.engines.local import LocalEngine

        return LocalEngine(model, seed=seed, context_length=config.engine.context)
    engine: Engine = _own_factory(config.engine.kind)(config, model, codec, seed=seed)
    check_members(engine, "Engine", _CONTRACT, f"engine.kind = '{config.engine.kind}'")
    return engine


def check_engine(kind: str) -> None:
    """Raise ConfigError for an engine of your own whose factory can't be loaded, or called as one."""
    if kind not in OURS:
        _own_factory(kind)


def _own_factory(kind: str) -> Callable[..., Any]:
    return load_function(kind, "engine.kind", ("config", "model", "codec"), ("seed",))
