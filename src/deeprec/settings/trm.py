"""Settings of the traditional recommendation model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deeprec.settings.effect import PLACE, TRM, changes
from deeprec.settings.section import Fraction, Positive, Section, Seed


class TRMConfig(Section):
    """The preference-aware traditional recommendation model."""

    effect = changes(TRM)

    kind: str = Field(
        "deeprec",
        description="`deeprec` (our network), `published-fusion`, `popularity`, `item-knn`, `vectors`, or yours: "
        "`package.module:factory`.",
    )
    vectors: Annotated[str | None, PLACE] = Field(
        None, description="For `vectors`: folder of `items.parquet` and, if you have it, `users.parquet`."
    )
    seed: Seed | None = Field(
        None, description="Seed of the fit; none: the run's. Runs of several policy seeds can share a TRM."
    )
    steer: float = Field(
        1.0,
        ge=0,
        description="Weight of a preference's text for kinds that read none (0: your retriever reads preferences).",
    )
    approximate_from: Positive = Field(
        250_000, description="Catalogue size from which retrieval is approximate, if faiss is installed."
    )
    text_encoder: str = Field("lsa", description="`lsa`, or a sentence-transformers model by name or path.")
    text_dim: Positive = Field(128, description="Width of `lsa` embeddings (other encoders have their own).")
    preference_instruction: str = Field("", description="Text put before a preference when it is embedded.")
    width: Positive = Field(64, description="Width of the sequential encoder and of item vectors.")
    layers: Positive = Field(2, description="Transformer layers.")
    heads: Positive = Field(2, description="Attention heads.")
    inner: Positive = Field(256, description="Width of the feed-forward layer.")
    experts: Positive = Field(
        1, description="Linear experts of the text adaptor (1: a plain projection; published: 8)."
    )
    dropout: Fraction = Field(0.3, description="Dropout rate.")
    history: Positive = Field(50, description="Latest items that the encoder reads.")
    id_dropout: Fraction = Field(
        0.1, description="Share of items that a training step sees by their text alone."
    )
    weight_average: Fraction = Field(
        0.999, description="Memory of the running mean of the weights, per step (0: the weights themselves)."
    )
    periods_per_year: Literal[0, 1, 2, 4, 12] = Field(
        4,
        description="Parts of a year that a preference's month (`2014-05`) is told apart by; 0: it says nothing.",
    )
    match_width: Positive = Field(64, description="Width of the space where preferences meet item texts.")
    preference_steps: int = Field(
        400, ge=0, description="Steps that train the preference branch (0: the texts' own similarity)."
    )
    preference_learning_rate: float = Field(
        6e-3, gt=0, description="Peak learning rate of the preference branch."
    )
    preference_noise: Fraction = Field(
        0.4,
        description="Share of its questions that are about another item, the same user's or anybody's.",
    )
    text_only_share: Fraction = Field(0.1, description="Share of its questions that have no history.")
    validation_users: Positive = Field(
        5000, description="Validation examples that early stopping looks at, at most."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak AdamW learning rate.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay.")
    epochs: Positive = Field(60, description="Epochs at most.")
    patience: Positive = Field(3, description="Epochs without a better validation NDCG@10 before stopping.")
    tokens_per_batch: Positive = Field(
        4096, description="Items of histories in one optimizer step at most, padding included."
    )
    precision: Literal["auto", "float32"] = Field(
        "auto",
        description="`auto`: bfloat16 where the processor multiplies it natively; `float32`: always exact.",
    )
    max_minutes: float | None = Field(None, gt=0, description="Stop after this time, keeping the best epoch.")
