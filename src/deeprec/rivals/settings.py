"""Settings of the rivals: one group a family."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deeprec.section import Fraction, Positive, Section


class PlainConfig(Section):
    """Baselines that read no text: item-kNN, EASE, ALS, and RecTools' transformers."""


class EnhancedTRMConfig(Section):
    """The TRM fitted with what a language model wrote about items and users."""


class OneShotConfig(Section):
    """A language model that ranks one retrieved list in one prompt."""


class ItemTokensConfig(Section):
    """A language model whose vocabulary is the catalogue."""

    model: str = Field(
        "tiny", description="`tiny` (made on the spot), or a Hugging Face causal LM by name or path."
    )
    width: Positive = Field(64, description="Tiny: hidden width.")
    layers: Positive = Field(2, description="Tiny: layers.")
    heads: Positive = Field(2, description="Tiny: attention heads.")
    inner: Positive = Field(128, description="Tiny: width of the (gated) feed-forward layer.")
    dropout: Fraction = Field(0.2, description="Dropout on embeddings and on what each layer adds.")
    history: Positive = Field(50, description="Latest items that the model reads.")
    levels: int = Field(3, ge=1, le=8, description="Semantic ids: levels of the residual quantisation.")
    codebook: Positive | None = Field(
        None,
        description="Semantic ids: codes of a level; none: the power of two nearest to 2 sqrt(items).",
    )
    quantiser: Literal["kmeans", "rq-vae"] = Field(
        "kmeans", description="Semantic ids: residual k-means, or TIGER's residual-quantised autoencoder."
    )
    vectors: Literal["text", "trm"] = Field(
        "text", description="Semantic ids: what is quantised, the items' text vectors or the TRM's item vectors."
    )
    beams: Positive = Field(20, description="Semantic ids: beams of the search; never fewer than items asked for.")
    validation_users: Positive = Field(
        2000, description="Validation examples that early stopping looks at, at most."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak AdamW learning rate.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay.")
    weight_average: Fraction = Field(
        0.999, description="Memory of the running mean of the weights, per step (0: the weights themselves)."
    )
    epochs: Positive = Field(60, description="Epochs at most.")
    patience: Positive = Field(3, description="Epochs without a better validation NDCG@10 before stopping.")
    tokens_per_batch: Positive = Field(
        4096, description="Items of histories in one optimizer step at most, padding included."
    )
    precision: Literal["auto", "float32"] = Field(
        "auto",
        description="`auto`: training in bfloat16 where the processor multiplies it natively; `float32`: always exact.",
    )
    max_minutes: float | None = Field(
        None, gt=0, description="Stop after the epoch in which this time is over, keeping the best."
    )


class RivalsConfig(Section):
    """The other families of recommenders, fitted by `deeprec rival fit`."""

    plain: PlainConfig = PlainConfig()
    enhanced_trm: EnhancedTRMConfig = EnhancedTRMConfig()
    one_shot: OneShotConfig = OneShotConfig()
    item_tokens: ItemTokensConfig = ItemTokensConfig()
