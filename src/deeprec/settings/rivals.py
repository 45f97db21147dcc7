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
    SHOWN,
    SPEED,
    TITLES,
    WRITER,
    changes,
)
from deeprec.settings.section import Fraction, Positive, Section

Counts = Annotated[tuple[Positive, ...], Field(min_length=1)]
Weights = Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
Amounts = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)]

_KNN, _EASE, _ALS, _BPR, _ASKED = (
    changes(RIVALS + name)
    for name in (methods.ITEM_KNN, methods.EASE, methods.ALS, methods.BPR, methods.TRM_ASKED)
)
_RECTOOLS = changes(RIVALS + methods.RECTOOLS_SASREC, RIVALS + methods.RECTOOLS_BERT4REC)


class PlainConfig(Section):
    """Baselines that need no language model: item-kNN, EASE, ALS, BPR, RecTools' transformers, the TRM asked by rule.

    Of a setting with several values, the one with the best validation NDCG@10 is taken.
    """

    validation_users: Annotated[Positive, _KNN, _EASE, _ALS, _BPR, _ASKED] = Field(
        3000, description="Validation users that settings are chosen on, at most."
    )
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
    als_factors: Annotated[Counts, _ALS] = Field(
        (64, 128), description="als: features of a user and an item."
    )
    als_regularization: Annotated[Weights, _ALS] = Field(
        (1.0, 10.0), description="als: weight of the L2 penalty."
    )
    als_alpha: Annotated[Weights, _ALS] = Field(
        (1.0, 10.0, 40.0, 100.0), description="als: confidence in what a user had is 1 + this."
    )
    als_iterations: Annotated[Positive, _ALS] = Field(15, description="als: passes over users and items.")
    bpr_factors: Annotated[Counts, _BPR] = Field((64,), description="bpr: features of a user and an item.")
    bpr_learning_rate: Annotated[Amounts, _BPR] = Field((0.02, 0.05), description="bpr: learning rate.")
    bpr_regularization: Annotated[Weights, _BPR] = Field(
        (0.001, 0.01), description="bpr: weight of the L2 penalty."
    )
    bpr_iterations: Annotated[Positive, _BPR] = Field(50, description="bpr: passes over the data.")
    asked_latest: Annotated[Counts, _ASKED] = Field(
        (3, 10), description="trm-asked: latest items whose categories are held against the usual."
    )
    asked_phrases: Annotated[Counts, _ASKED] = Field(
        (1, 2), description="trm-asked: categories that are asked for, at most."
    )
    asked_least: Annotated[Weights, _ASKED] = Field(
        (0.0, 0.5, 1.0, 1.5),
        description="trm-asked: a category is asked for if it stands out by more than this "
        "(its share times the log of how much larger that is than usual).",
    )
    peers_python: Annotated[str, PLACE] = Field(
        ".venv-peers/bin/python",
        description="rectools-*: interpreter with RecTools installed (`make peers`).",
    )
    rectools_history: Annotated[Positive, _RECTOOLS] = Field(
        100, description="rectools-*: latest items that are read."
    )
    rectools_width: Annotated[Positive, _RECTOOLS] = Field(256, description="rectools-*: hidden width.")
    rectools_blocks: Annotated[Positive, _RECTOOLS] = Field(2, description="rectools-*: transformer layers.")
    rectools_heads: Annotated[Positive, _RECTOOLS] = Field(4, description="rectools-*: attention heads.")
    rectools_dropout: Annotated[Fraction, _RECTOOLS] = Field(0.2, description="rectools-*: dropout.")
    rectools_learning_rate: Annotated[float, _RECTOOLS] = Field(
        0.001, gt=0, description="rectools-*: learning rate."
    )
    rectools_users_per_step: Annotated[Positive, _RECTOOLS] = Field(
        128, description="rectools-*: users of a step."
    )
    rectools_epochs: Annotated[Positive, _RECTOOLS] = Field(
        100, description="rectools-*: passes over the data, at most."
    )
    rectools_patience: Annotated[Positive, _RECTOOLS] = Field(
        10, description="rectools-*: epochs without a lower validation loss before the fit stops."
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
    text_steps: Annotated[
        Positive, changes(ENHANCED, WRITER, when=lambda run: run.rivals.enhanced_trm.model == "tiny")
    ] = Field(
        600, description="Tiny: optimizer steps of 16 pieces of fit histories, at the rate of `warm_start`."
    )
    item_prompt: Annotated[str | None, PLACE] = Field(
        None,
        description="Path of a text file with the prompt for an item (fields {title}, {categories}, {year}); none: "
        "our own.",
    )
    history_prompt: Annotated[str | None, PLACE] = Field(
        None, description="The same for a short history (field {history}); none: our own."
    )
    features: bool = Field(True, description="Whether items get texts.")
    feature_tokens: Positive = Field(64, description="Tokens of an item's text at most.")
    phrases: Positive = Field(10, description="Phrases of such a text that are used, at most.")
    short_history: int = Field(
        20, ge=0, description="Histories of fewer items get plausible next ones (0: none does)."
    )
    augmented_items: Positive = Field(2, description="Items that a short history gets, at most.")
    history: Annotated[Positive, changes(ENHANCED, WRITER)] = Field(
        20, description="Latest items of a history that the prompt shows."
    )
    texts_per_batch: Annotated[Positive, SPEED] = Field(64, description="Texts written, and saved, together.")


class OneShotConfig(Section):
    """A language model that ranks one retrieved list in one prompt.

    The model is `policy.model` (a tiny one has the sizes of `policy`), the prompt follows `rollout`; the
    supervised training takes steps as `warm_start` says, the RL as `rl` says, with the weights of
    `rl.recommendation`.
    """

    effect = changes(ONE_SHOT_SFT)

    candidates: Positive = Field(20, description="Items of the TRM's plain list that stand in the prompt.")
    title_vectors: bool = Field(
        True,
        description="Tiny: a title's embedding starts as the TRM's vector of the item, where it has one.",
    )
    text_epochs: int = Field(
        2, ge=0, description="Tiny: epochs over fit histories and facts as text, mixed in."
    )
    copies: int = Field(
        4800,
        ge=0,
        description="Tiny: lists in the TRM's order, for pasts cut from fit histories, mixed in: they teach to copy.",
    )
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
    validation_users: Annotated[Positive, SHOWN] = Field(
        1000, description="Validation users that the fit is measured on, at most."
    )


class ItemTokensConfig(Section):
    """A language model whose vocabulary is the catalogue."""

    effect = changes(TITLES, CODES)

    model: str = Field(
        "tiny", description="`tiny` (made on the spot), or a Hugging Face causal LM by name or path."
    )
    width: Positive = Field(64, description="Tiny: hidden width.")
    layers: Positive = Field(2, description="Tiny: layers.")
    heads: Positive = Field(2, description="Tiny: attention heads.")
    inner: Positive = Field(128, description="Tiny: width of the (gated) feed-forward layer.")
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
    rqvae_steps: Annotated[Positive, changes(CODES)] = Field(
        1500, description="Semantic ids: optimizer steps of the autoencoder."
    )
    vectors: Annotated[Literal["auto", "text", "trm"], changes(CODES)] = Field(
        "auto",
        description="Semantic ids: what is quantised, the TRM's item vectors or the items' text vectors (TIGER); "
        "`auto`: the TRM's where it has them.",
    )
    beams: Annotated[Positive, changes(CODES)] = Field(
        20, description="Semantic ids: beams of the search; never fewer than items asked for."
    )
    validation_users: Positive = Field(
        2000, description="Validation examples that early stopping looks at, at most."
    )
    learning_rate: float = Field(4e-3, gt=0, description="Peak AdamW learning rate.")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW weight decay.")
    weight_average: Fraction = Field(
        0.999, description="Memory of the running mean of the weights, per step (0: the weights themselves)."
    )
    epochs: Positive = Field(60, description="Epochs at most.")
    patience: Positive = Field(3, description="Epochs without a better validation NDCG@10 before stopping.")
    tokens_per_batch: Positive = Field(
        4096, description="Tokens in one optimizer step at most, padding included."
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
