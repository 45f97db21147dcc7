"""Settings of the traditional recommendation model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deeprec.settings.effect import CODES, PLACE, READING, TITLES, TRM, WARM_START, changes
from deeprec.settings.section import Fraction, Positive, Section, Seed

Precision = Literal["auto", "float32"]


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
    text_encoder: str = Field("lsa", description="`lsa`, or a sentence-transformers model by name or path.")
    text_dim: Positive = Field(128, description="Width of `lsa` embeddings (other encoders have their own).")
    preference_instruction: str = Field("", description="Text put before a preference when it is embedded.")
    width: Positive = Field(64, description="Width of the sequential encoder and of item vectors.")
    layers: Positive = Field(2, description="Transformer layers.")
    experts: Positive = Field(
        1, description="Linear experts of the text adaptor (1: a plain projection; published: 8)."
    )
    dropout: Fraction = Field(0.3, description="Dropout rate.")
    history: Positive = Field(50, description="Latest items that the encoder reads.")
    id_dropout: Fraction = Field(
        0.1, description="Share of items that a training step sees by their text alone."
    )
    periods_per_year: Literal[0, 1, 2, 4, 12] = Field(
        4,
        description="Parts of a year that a preference's month (`2014-05`) is told apart by; 0: it says nothing.",
    )
    preference_steps: int = Field(
        400, ge=0, description="Steps that train the preference branch (0: the texts' own similarity)."
    )
    validation_users: Positive = Field(
        5000, description="Validation examples that early stopping looks at, at most."
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak AdamW learning rate.")
    epochs: Positive = Field(60, description="Epochs at most.")
    patience: Positive = Field(8, description="Epochs without a better validation NDCG@10 before stopping.")
    tokens_per_batch: Positive = Field(
        4096, description="Items of histories in one optimizer step at most, padding included."
    )
    precision: Annotated[
        Precision,
        changes(TRM, TITLES, CODES),
        changes(READING, WARM_START, when=lambda run: run.warm_start.reads),
    ] = Field(
        "auto",
        description="Of this and of every training on next items. `auto`: bfloat16 where the processor multiplies it "
        "natively; `float32`: always exact.",
    )
    max_minutes: float | None = Field(None, gt=0, description="Stop after this time, keeping the best epoch.")
