"""Settings of the language model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deeprec.settings.section import Positive, Section


class PolicyConfig(Section):
    """The language model."""

    model: str = Field("tiny", description="`tiny`, or a Hugging Face causal LM by name or path.")
    width: Positive = Field(96, description="Tiny: hidden width.")
    layers: Positive = Field(2, description="Tiny: layers.")
    heads: Positive = Field(8, description="Tiny: attention heads.")
    key_value_heads: Positive = Field(4, description="Tiny: key-value heads.")
    inner: Positive = Field(192, description="Tiny: width of the feed-forward layer.")
    title_vectors: bool = Field(
        False, description="Tiny: a title's embedding starts as the TRM's vector of the item."
    )
    pieces: Positive = Field(1000, description="Tiny: sub-word pieces for free text, besides whole titles.")
    context: Positive = Field(2048, description="Tiny: context length in tokens.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    lora_rank: int = Field(0, ge=0, description="Rank of LoRA adapters; 0 trains all weights.")
