"""Settings of what generates tokens."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deeprec.settings.effect import EVALUATION, ONE_SHOT_RL, RL, SPEED, changes
from deeprec.settings.own import one_of_or_own
from deeprec.settings.section import Positive, Section


class EngineConfig(Section):
    """What generates the policy's tokens."""

    kind: Annotated[
        str,
        one_of_or_own("local", "vllm"),
        changes(*RL, ONE_SHOT_RL, when=lambda run: run.engine.kind != "local"),
    ] = Field(
        "local",
        description="`local`: the policy itself, on CPU or GPU; `vllm` (extra `vllm`): a copy in vLLM, for GPUs; or "
        "yours: `package.module:factory`.",
    )
    context: Annotated[
        Positive | None,
        changes(*RL, ONE_SHOT_RL, EVALUATION, when=lambda run: run.engine.context is not None),
    ] = Field(
        None,
        description="Tokens that prompt and response may have together; none: as many as the model reads. With `vllm` "
        "the cache must have room for one such sequence.",
    )
    vllm_memory: Annotated[float, SPEED] = Field(
        0.3,
        gt=0,
        le=1,
        description="For `vllm`: share of the GPU's memory for its copy of the weights and its cache.",
    )
