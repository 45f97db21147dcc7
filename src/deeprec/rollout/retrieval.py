"""What the environment writes into episodes: the items that the TRM retrieves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.rollout.episode import Episode
from deeprec.trm.base import Retriever
from deeprec.trm.left import retrieve_left
from deeprec.trm.periods import NOW, month_phrase
from deeprec.trm.phrases import join_phrases, split_phrases
from deeprec.types import Example


def write_retrieved(
    episodes: Sequence[Episode], dataset: Dataset, retriever: Retriever, config: RolloutConfig
) -> None:
    """Retrieve for every pending preference, and write the items behind it.

    Who asks again for what was asked for before gets what comes next: the same list twice would tell nothing.
    What is retrieved never depends on the batch.
    """
    # Known items are left out as in every other recommendation; else a policy would be shown what nobody may list.
    exclude = [
        (*dataset.exclusions(episode.example), *_shown(episode, config.new_items_only))
        for episode in episodes
    ]
    histories = [episode.example.history for episode in episodes]
    asked = [asked_text(episode.preference, episode.example, config) for episode in episodes]
    # A small catalogue runs out of new items: then that user's list is shorter, or empty.
    retrievals = retrieve_left(retriever, histories, asked, config.retrieved, exclude)
    for episode, found in zip(episodes, retrievals, strict=True):
        episode.write_items(found.items, found.scores)


def _shown(episode: Episode, everything: bool) -> tuple[int, ...]:
    """Items that are not to be shown again: those of `everything` retrieved, or for the same preference."""
    if everything:
        return episode.retrieved
    wanted = _normal(episode.preference)
    return tuple(
        item for turn in episode.turns if _normal(turn.preference) == wanted for item in turn.retrieved
    )


def _normal(preference: str | None) -> frozenset[str]:
    """What a preference asks for: neither case nor the order of its phrases makes it another one."""
    return frozenset(phrase.casefold() for phrase in split_phrases(preference))


def asked_text(preference: str | None, example: Example, config: RolloutConfig) -> str | None:
    """A preference as the TRM is asked: `now` is the month of the user's latest interaction."""
    times = example.timestamps
    if not config.now or not times:
        return preference
    phrases = split_phrases(preference)
    return join_phrases([month_phrase(times[-1]) if phrase.lower() == NOW else phrase for phrase in phrases])


def log_shares(scores: Sequence[float]) -> list[float]:
    """Natural logarithm of the softmax of some scores, in order.

    >>> [round(value, 3) for value in log_shares([1.0, 1.0])]
    [-0.693, -0.693]
    """
    values = np.asarray(scores, dtype=np.float64)
    shares: list[float] = (values - np.logaddexp.reduce(values)).tolist() if len(values) else []
    return shares
