"""The tiny policy reads fit histories before it learns to speak: which title comes next?

What it learns there is what a masked list asks of it. Scripts alone don't teach it: they show as many
histories in minutes as one epoch holds, and a small model needs ten.
"""

from __future__ import annotations

import numpy as np

from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError
from deeprec.next_item.model import ItemModel
from deeprec.next_item.recommender import ItemTokensRecommender
from deeprec.next_item.training import PLAIN, Habits, fit_items
from deeprec.next_item.trie import Trie
from deeprec.next_item.vocabulary import ItemNames
from deeprec.policy.context import longer_context
from deeprec.policy.loading import Policy
from deeprec.rollout.engines.causal_lm import context_limit
from deeprec.rollout.titles import TitleTexts
from deeprec.settings.rivals import ItemTokensConfig
from deeprec.trm.epochs import Log
from deeprec.trm.resuming import EpochCheckpoint

# Chosen on validation users of the simulated data (docs/log.md). Titles that start from noise need the whole rate.
LEFT_OUT, TITLE_RATE = 0.15, 0.3
# Of fit interactions: fewer are soon known by heart, and read with care. With more the careful way ends far from what
# there is to learn. Between the 95,000 of MovieLens 100K and the 332,000 of Video Games (docs/log.md).
MANY = 200_000


def habits_of(config: RunConfig) -> Habits:
    """How a policy reads that must not unlearn: while it learns to speak, and where there is little to read."""
    return Habits(LEFT_OUT, TITLE_RATE if config.policy.title_vectors else 1.0)


def pace(config: RunConfig, interactions: int) -> Habits:
    """How this run's policy reads so many fit interactions."""
    return PLAIN if interactions > MANY else habits_of(config)


def half_of(minutes: float | None) -> float | None:
    """What reading, and then speaking, has of the stage's minutes; None: no limit."""
    return None if minutes is None else minutes / 2


def read_histories(
    policy: Policy, dataset: Dataset, config: RunConfig, log: Log, checkpoint: EpochCheckpoint | None = None
) -> None:
    """Train `policy` in place as the rival `llm-title-tokens` is trained, by the defaults of that family.

    On `dataset.fit_histories()` alone, for `warm_start.reading_epochs` at most; the best epoch on validation users is
    kept (`fit_items`), and `checkpoint` is what an interrupted reading goes on from. Raises
    ConfigError for a policy whose titles are several tokens, or whose context is too short.
    """
    names = label_names(policy, dataset)
    settings = ItemTokensConfig(
        history=config.rollout.list_history,
        epochs=config.warm_start.reading_epochs,
        max_minutes=half_of(config.warm_start.minutes),
    )
    if config.warm_start.reading_learning_rate:
        settings = settings.model_copy(update={"learning_rate": config.warm_start.reading_learning_rate})
    most = context_limit(policy.model)
    if most is not None and settings.history + 1 > most:  # a token stands in front
        raise ConfigError(
            f"rollout.list_history = {settings.history}: the policy reads {most} tokens at most; lower it, or "
            f"{longer_context(config.policy)}"
        )
    trie = Trie(names.codes)

    def recommender(shown: ItemModel) -> ItemTokensRecommender:
        return ItemTokensRecommender(
            "reading", shown, trie, dataset, history=settings.history, beams=settings.beams
        )

    items = ItemModel(policy.model, policy.tokenizer, names)
    fit_items(
        items,
        dataset,
        settings,
        recommender,
        seed=config.seed,
        log=log,
        title="Warm start: reading",
        checkpoint=checkpoint,
        precision=config.trm.precision,
        habits=pace(config, sum(len(example.history) for example in dataset.fit_histories())),
    )


def label_names(policy: Policy, dataset: Dataset) -> ItemNames:
    """Every title as the token that it is in this policy, behind the end-of-text token.

    Raises ConfigError for a policy whose titles are several tokens.
    """
    if not TitleTexts(policy.codec, dataset.catalog).is_compact:
        raise ConfigError(
            "warm_start.reading_epochs: titles are several tokens of this policy; set it to 0, and "
            "warm_start.text_epochs to read histories as text"
        )
    codes = np.arange(-1, dataset.catalog.n_items, dtype=np.int64)[:, None]
    codes[0] = 0
    labels = tuple(item.label for item in dataset.catalog.items)
    return ItemNames(codes, (labels,), start=policy.tokenizer.eos_token)
