"""The policy's own list: titles drawn under a mask, with the TRM as a prior.

The items that may be listed are those that any turn retrieved and those of the TRM's plain list (or the
catalogue's). One position tells all: the list is K draws without replacement from

    log pi(i) = (log p(title of i | what was read) + a log asked(i) + b log plain(i)) / max(1, a + b)

renormalised over the pool. The divisor changes no order; without it a policy that trusts its TRM eight times over
would draw one and the same list again and again, and learn nothing of others. What was read ends with the user's
latest titles, written once more, since a policy tells what comes next right behind them. In front of them stands
everything so far; nothing, where each title is one token of the policy: a small one takes titles that it was shown
for titles that the user had, and ranks the worse for every list that it reads (docs/log.md). What exploring found
reaches it by the pool and by `asked`, the item's share in the softmax of the TRM's scores by the first preference;
`plain` is its share in that of the scores without any. So what a policy asks for first says how it ranks, and later
turns add items: by the preference that each item fits best, what one turn narrows down to would outweigh all else. a
and b belong to the policy (`rollout.list_prior`). What any turn's preference excludes (`not Musical`) comes after all
else, whatever the weights. So a list is distinct, known and as long as the pool allows by construction, its
probability is exact, and training sees the distribution that drew it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import PolicyError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.sampling import uniforms_for
from deeprec.rollout.episode import Episode
from deeprec.rollout.fill_in import Gap, fill_gaps
from deeprec.rollout.list_prior import ListPrior, prior_of
from deeprec.rollout.plackett_luce import NEVER, draw_lists, greedy_lists, line_log_probs
from deeprec.rollout.retrieval import asked_text
from deeprec.rollout.title_likelihoods import Likelihoods
from deeprec.rollout.titles import Ids, TitleTexts
from deeprec.trm.base import Retriever
from deeprec.trm.mentions import LOWERED, Bearers
from deeprec.types import Draw, Example
from deeprec.wishes.text import clean_wish

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NOTHING = -1e4  # log-share of an item that a TRM gives none: finite, so that a weight of 0 leaves it out
_STREAM = 0x11575  # sets a list's random numbers apart from those of the episode's tokens


@dataclass(frozen=True)
class Evidence:
    """What is known of the items that an episode may list: arrays (P,) of natural logarithms, and who is left out."""

    pool: tuple[int, ...]
    likelihood: NDArray[np.float64]  # of the title, by the policy
    asked: NDArray[np.float64]
    plain: NDArray[np.float64]
    excluded: NDArray[np.bool_]  # the items that bear what a preference of the trajectory excluded

    def prior(self, weights: ListPrior) -> NDArray[np.float64]:
        """What the TRM adds to the policy's logarithm (P,)."""
        added = weights.asked * self.asked + weights.plain * self.plain
        return added - self.lowered(self.likelihood + added)

    def lowered(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """What to take from logits (..., P), so that what was excluded comes after all else; nothing without any."""
        if not self.excluded.any():
            return np.zeros_like(logits)
        return np.where(self.excluded, np.ptp(logits, axis=-1, keepdims=True) + LOWERED, 0.0)


class MaskedLists:
    """Fills opened lists by the policy's own distribution over the pool.

    `drawn` lists are drawn of each that is sampled: the first is the trajectory's, the others tell
    training what else might have been drawn, at no further pass. What is drawn depends on `seed`,
    the number of `forget` calls since, the episode's key and its length alone. Raises PolicyError for
    lists from the whole catalogue by a policy whose titles are several tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        codec: Codec,
        dataset: Dataset,
        retriever: Retriever,
        config: RolloutConfig,
        *,
        seed: int,
        drawn: int = 1,
        wish_weight: float = 1.0,
    ) -> None:
        """`wish_weight` is a factor on the weight of what was asked, for who said a wish."""
        self._wish_weight = wish_weight
        self._likelihoods = Likelihoods(model)
        self._titles = TitleTexts(codec, dataset.catalog)
        self._dataset, self._retriever, self._config = dataset, retriever, config
        self._bearers = Bearers(dataset.catalog)
        self._seed, self._part, self._drawn = seed, 0, drawn
        if config.list_items == "catalogue" and not self._titles.is_compact:
            raise PolicyError(
                "rollout.list_items = 'catalogue': titles are several tokens of this policy, and thousands of them are "
                "too many to read for each list; set it to 'found'"
            )

    @property
    def size(self) -> int:
        """Items of a list, at most."""
        return self._config.recommended

    def forget(self) -> None:
        """Go on to fresh random numbers."""
        self._part += 1

    def reseed(self, seed: int) -> None:
        """Draw as a new maker with this seed would."""
        self._seed, self._part = seed, 0

    def lists(self, episodes: Sequence[Episode], *, greedy: bool) -> None:
        """Write the opened list of each episode; one whose pool is small gets a shorter list."""
        for episode, known in zip(episodes, self.evidence(episodes), strict=True):
            if known is None:
                episode.leave_list()
            else:
                episode.write_list(*self._choose(episode, known, self._weights(episode), greedy=greedy))

    def _weights(self, episode: Episode) -> ListPrior:
        """With a wish what was asked tells more than the history: the policy has other weights for that."""
        if not clean_wish(episode.example.wish):
            return prior_of(self._likelihoods.model)
        weights = prior_of(self._likelihoods.model, wished=True)
        return replace(weights, asked=self._wish_weight * weights.asked)

    def evidence(self, episodes: Sequence[Episode]) -> list[Evidence | None]:
        """What is known of the items that each episode may list; None where there is no room to read their titles."""
        sources = self._sources([episode.example for episode in episodes])
        plains = [sources[id(episode.example)] for episode in episodes]
        pools = [self._pool(episode, plain) for episode, plain in zip(episodes, plains, strict=True)]
        rows = [
            (self._context(episode), [self._titles.title(item) for item in pool])
            for episode, pool in zip(episodes, pools, strict=True)
        ]
        found: list[Evidence | None] = [None] * len(episodes)
        # A model has no positions behind its context: some families fail there, others say anything.
        fitting = [place for place, row in enumerate(rows) if self._fits(*row)]
        if not fitting:
            return found
        likelihoods = self._likelihoods.behind([rows[place] for place in fitting])
        asked = self._asked([episodes[place] for place in fitting], [pools[place] for place in fitting])
        for place, likelihood, shares in zip(fitting, likelihoods, asked, strict=True):
            pool = pools[place]
            left_out = self._bearers.left_out(turn.preference for turn in episodes[place].turns)
            excluded = np.array([item in left_out for item in pool], dtype=np.bool_)
            found[place] = Evidence(pool, likelihood, shares, plains[place].shares[list(pool)], excluded)
        return found

    def _fits(self, context: Ids, titles: Sequence[Ids]) -> bool:
        most = self._likelihoods.context_length
        longest = max((len(title) for title in titles), default=0)
        return most is None or len(context) + longest <= most

    def _context(self, episode: Episode) -> Ids:
        """All that is read before the list is drawn."""
        again = self._titles.context(episode.example.history[-self._config.list_history :])
        return again if self._titles.is_compact else episode.context + again

    def _sources(self, examples: Sequence[Example]) -> dict[int, Plain]:
        """The TRM's plain list and scores for each distinct example, by its identity."""
        # By identity: the rollouts of one user share their example.
        distinct = list({id(example): example for example in examples}.values())
        size = max(self._config.retrieved, self._config.recommended)
        lists = fill_gaps([Gap(example, size) for example in distinct], self._dataset, self._retriever)
        scores = self._retriever.score([example.history for example in distinct])
        found = {}
        for example, items, row in zip(distinct, lists, scores, strict=True):
            found[id(example)] = Plain(items, self._shares(example, row))
        return found

    def _asked(
        self, episodes: Sequence[Episode], pools: Sequence[tuple[int, ...]]
    ) -> list[NDArray[np.float64]]:
        """The log-shares (P,) of each episode's pool by its first preference."""
        asked = [
            asked_text(episode.turns[0].preference, episode.example, self._config) if episode.turns else None
            for episode in episodes
        ]
        scores = self._retriever.score([episode.example.history for episode in episodes], asked)
        return [
            self._shares(episode.example, row)[list(pool)]
            for episode, row, pool in zip(episodes, scores, pools, strict=True)
        ]

    def _shares(self, example: Example, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Log-shares of all items by their scores, both (n_items + 1,): `NOTHING` for what may not be recommended.

        What a user knows takes nothing from the rest.
        """
        allowed = np.asarray(scores, dtype=np.float64).copy()
        allowed[[0, *self._dataset.exclusions(example)]] = -np.inf
        whole = np.logaddexp.reduce(allowed)
        return np.maximum(allowed - whole if np.isfinite(whole) else allowed, NOTHING)

    def _pool(self, episode: Episode, plain: Plain) -> tuple[int, ...]:
        """The items that may be listed, in the order in which they were found."""
        found = [item for turn in episode.turns for item in turn.retrieved] + list(plain.items)
        if self._config.list_items == "catalogue":
            found += np.flatnonzero(plain.shares > NOTHING).tolist()
        return tuple(dict.fromkeys(found))

    def _choose(
        self, episode: Episode, known: Evidence, weights: ListPrior, *, greedy: bool
    ) -> tuple[tuple[int, ...], Draw]:
        prior = torch.from_numpy(known.prior(weights)).float()[None]
        sharpness = torch.tensor([[weights.sharpness]])
        likelihood = torch.from_numpy(known.likelihood).float()[None]
        logits = list_logits(likelihood, prior, torch.ones_like(prior), sharpness)
        size = self._config.recommended
        if greedy:
            places = greedy_lists(logits, size)
        else:
            # Greedy lists need none: a temperature changes no order.
            logits = logits / self._config.temperature
            places = draw_lists(logits, self._uniforms(episode, len(known.pool)), size)
        logs = line_log_probs(logits, places)[0]
        lists = tuple(tuple(known.pool[place] for place in row if place >= 0) for row in places[0].tolist())
        return lists[0], Draw(
            context=self._context(episode),
            pool=known.pool,
            prior=tuple(prior[0].tolist()),
            sharpness=weights.sharpness,
            lists=lists,
            logprobs=tuple(tuple(row[: len(lists[0])]) for row in logs.tolist()),
        )

    def _uniforms(self, episode: Episode, places: int) -> Tensor:
        seed, start = self._seed ^ _STREAM, len(episode.context)
        found = uniforms_for(seed, self._part, episode.key, start, self._drawn * places)
        return torch.from_numpy(found.reshape(1, self._drawn, places))


@dataclass(frozen=True)
class Plain:
    """What the TRM says of a user without a preference: its list, and the log-share (n_items + 1,) of every item,
    `NOTHING` of what may not be recommended.
    """

    items: tuple[int, ...]
    shares: NDArray[np.float64]


def list_logits(likelihood: Tensor, prior: Tensor, allowed: Tensor, sharpness: Tensor) -> Tensor:
    """Logits (B, P) of what a list is drawn from, of (B, P) and `sharpness` (B, 1); in sampling as in training."""
    return torch.where(allowed.bool(), (likelihood + prior) / sharpness, NEVER)
