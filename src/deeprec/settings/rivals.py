"""Settings of the rivals: one group a family."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deeprec import methods
from deeprec.settings.effect import (
    CODES,
    ENHANCED,
    EVALUATION,
    ONE_SHOT_RL,
    ONE_SHOT_SFT,
    PLACE,
    RIVALS,
    SPEED,
    TITLES,
    changes,
)
from deeprec.settings.section import Fraction, Positive, Section

Counts = Annotated[tuple[Positive, ...], Field(min_length=1)]
Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
Amounts = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]

_KNN, _EASE, _ALS, _ASKED = (
    changes(RIVALS + name) for name in (methods.ITEM_KNN, methods.EASE, methods.ALS, methods.TRM_ASKED)
)
_RECTOOLS = changes(RIVALS + methods.RECTOOLS_SASREC, RIVALS + methods.RECTOOLS_BERT4REC)


class PlainConfig(Section):
    """Baselines that need no language model: item-kNN, EASE, ALS, BPR, RecTools' transformers, the TRM asked by rule.

    Of a setting with several values, the one with the best validation NDCG@10 is taken.
    """

    decays: Annotated[Shares, _KNN, _EASE, _ALS] = Field(
        (1.0, 0.9, 0.8, 0.6, 0.4),
        description="item-knn, ease, als: what an item of the history counts, to the power of its age; 1: all alike.",
    )
    knn_neighbours: Annotated[Counts, _KNN] = Field(
        (50, 200), description="item-knn: nearest items that each item keeps."
    )
    knn_shrink: Annotated[Weights, _KNN] = Field(
        (0.0, 10.0, 100.0),
        description="item-knn: added below the cosine, so that few shared users count less.",
    )
    ease_l2: Annotated[Amounts, _EASE] = Field(
        (100.0, 300.0, 1000.0, 3000.0), description="ease: weight of the L2 penalty."
    )
    ease_memory_gb: Annotated[float, SPEED] = Field(
        8.0,
        gt=0,
        description="ease: refuses a catalogue whose fit needs more (20 bytes for each pair of items).",
    )
    peers_python: Annotated[str, PLACE] = Field(
        ".venv-peers/bin/python",
        description="rectools-*: interpreter with RecTools installed (`make peers`).",
    )
    rectools_history: Annotated[Positive, _RECTOOLS] = Field(
        100, description="rectools-*: latest items that are read."
    )
    rectools_minutes: Annotated[float, _RECTOOLS] = Field(
        60.0, gt=0, description="rectools-*: no epoch begins after so many minutes."
    )


class EnhancedTRMConfig(Section):
    """The TRM fitted with what a language model wrote about items and users."""

    effect = changes(ENHANCED)

    model: str = Field(
        "tiny",
        description="Who writes: `tiny` (sized as `policy`, taught on the spot on fit histories; it names items that "
        "go together), or a Hugging Face causal LM by name or path.",
    )
    item_prompt: Annotated[str | None, PLACE] = Field(
        None,
        description="Path of a text file with the prompt for an item (fields {title}, {categories}, {year}); none: "
        "our own.",
    )
    history_prompt: Annotated[str | None, PLACE] = Field(
        None, description="The same for a short history (field {history}); none: our own."
    )
    feature_tokens: int = Field(64, ge=0, description="Tokens of an item's text at most (0: items get none).")
    short_history: int = Field(
        20, ge=0, description="Histories of fewer items get plausible next ones (0: none does)."
    )


class OneShotConfig(Section):
    """A language model that ranks one retrieved list in one prompt.

    The model is `policy.model` (a tiny one has the sizes of `policy`), the prompt follows `rollout`; the
    supervised training takes steps as `warm_start` says, the RL as `rl` says, with the weights of
    `rl.recommendation`.
    """

    effect = changes(ONE_SHOT_SFT)

    candidates: Positive = Field(20, description="Items of the TRM's plain list that stand in the prompt.")
    epochs: Positive = Field(2, description="Epochs over the RL targets, in the supervised training.")
    imitate: Literal["target-first", "trm-order"] = Field(
        "target-first",
        description="The list that supervision shows: the TRM's with the target moved to its top, or as the TRM "
        "ordered it, so that targets are left to the RL.",
    )
    rl_steps: Annotated[Positive, changes(ONE_SHOT_RL)] = Field(
        40, description="Iterations of the RL after it."
    )
    ranking: Annotated[Literal["generate", "score", "constrained"], changes(EVALUATION)] = Field(
        "generate",
        description="The list: as the model writes it, the candidates by each title's likelihood (`score`), or "
        "written among candidates only (`constrained`). Training always lets the model write.",
    )


class ItemTokensConfig(Section):
    """A language model whose vocabulary is the catalogue."""

    effect = changes(TITLES, CODES)

    model: str = Field(
        "tiny", description="`tiny` (made on the spot), or a Hugging Face causal LM by name or path."
    )
    width: Positive = Field(64, description="Tiny: hidden width.")
    layers: Positive = Field(2, description="Tiny: layers.")
    dropout: Fraction = Field(0.2, description="Dropout on embeddings and on what each layer adds.")
    history: Annotated[Positive, changes(TITLES)] = Field(
        50, description="Latest items that the model reads: one token a title."
    )
    code_history: Annotated[Positive, changes(CODES)] = Field(
        20, description="The same for semantic ids, which take `levels` + 1 tokens an item."
    )
    levels: Annotated[int, changes(CODES)] = Field(
        3, ge=1, le=8, description="Semantic ids: levels of the residual quantisation."
    )
    codebook: Annotated[Positive | None, changes(CODES)] = Field(
        None,
        description="Semantic ids: codes of a level; none: the power of two nearest to 2 sqrt(items).",
    )
    quantiser: Annotated[Literal["kmeans", "rq-vae"], changes(CODES)] = Field(
        "kmeans", description="Semantic ids: residual k-means, or TIGER's residual-quantised autoencoder."
    )
    vectors: Annotated[Literal["auto", "text", "trm"], changes(CODES)] = Field(
        "auto",
        description="Semantic ids: what is quantised, the TRM's item vectors or the items' text vectors (TIGER); "
        "`auto`: the TRM's where it has them.",
    )
    beams: Annotated[Positive, changes(CODES)] = Field(
        20, description="Semantic ids: beams of the search; never fewer than items asked for."
    )
    learning_rate: float = Field(4e-3, gt=0, description="Peak AdamW learning rate.")
    epochs: Positive = Field(60, description="Epochs at most.")
    patience: Positive = Field(5, description="Epochs without likelier validation targets before stopping.")
    tokens_per_batch: Positive = Field(
        4096, description="Tokens in one optimizer step at most, padding included."
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
