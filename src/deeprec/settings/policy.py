"""Settings of the language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from deeprec.settings.effect import (
    ENHANCED,
    ONE_SHOT_RL,
    ONE_SHOT_SFT,
    READING,
    RL,
    WARM_START,
    WRITER,
    changes,
)
from deeprec.settings.section import Positive, Section

if TYPE_CHECKING:
    from deeprec.settings.run import RunConfig


def _is_tiny(run: RunConfig) -> bool:
    return run.policy.model == "tiny"


_MODEL = changes(READING, WARM_START, ONE_SHOT_SFT)
_TINY = changes(READING, WARM_START, ONE_SHOT_SFT, when=_is_tiny)
_TINY_WRITER = changes(ENHANCED, WRITER, when=lambda run: run.rivals.enhanced_trm.model == "tiny")


class PolicyConfig(Section):
    """The language model."""

    model: Annotated[str, _MODEL] = Field(
        "tiny", description="`tiny`, or a Hugging Face causal LM by name or path."
    )
    width: Annotated[Positive, _TINY, _TINY_WRITER] = Field(96, description="Tiny: hidden width.")
    layers: Annotated[Positive, _TINY, _TINY_WRITER] = Field(2, description="Tiny: layers.")
    heads: Annotated[Positive, _TINY, _TINY_WRITER] = Field(8, description="Tiny: attention heads.")
    key_value_heads: Annotated[Positive, _TINY, _TINY_WRITER] = Field(4, description="Tiny: key-value heads.")
    inner: Annotated[Positive, _TINY, _TINY_WRITER] = Field(
        192, description="Tiny: width of the feed-forward layer."
    )
    title_vectors: Annotated[bool, changes(READING, WARM_START, when=_is_tiny)] = Field(
        False,
        description="Tiny: a title's embedding starts as what the catalogue says of the item (categories, year, text).",
    )
    pieces: Annotated[Positive, _TINY, _TINY_WRITER] = Field(
        1000, description="Tiny: sub-word pieces for free text, besides whole titles."
    )
    context: Annotated[Positive, _TINY, _TINY_WRITER] = Field(
        2048, description="Tiny: context length in tokens."
    )
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        changes(READING, WARM_START, *RL, ONE_SHOT_SFT, ONE_SHOT_RL, ENHANCED, WRITER),
    ] = Field("float32", description="Type of the weights.")
    lora_rank: Annotated[
        int, changes(*RL, ONE_SHOT_RL), changes(WARM_START, ONE_SHOT_SFT, when=lambda run: not _is_tiny(run))
    ] = Field(0, ge=0, description="Rank of LoRA adapters; 0 trains all weights.")
