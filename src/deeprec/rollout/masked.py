"""The policy's own list: titles drawn under a mask, with the TRM as a prior.

The items that may be listed are those that any turn retrieved and those of the TRM's plain list (or the
catalogue's). One position tells all: the list is K draws without replacement from

    log pi(i) = log p(title of i | what was read) + a log asked(i) + b log plain(i)

renormalised over the pool. What was read ends with the user's latest titles, written once more, since a
policy tells what comes next right behind them. In front of them stands everything so far; nothing, where each
title is one token of the policy: a small one takes titles that it was shown for titles that the user had, and
ranks the worse for every list that it reads (docs/log.md). What exploring found reaches it by the pool
and by `asked`, the item's share in the softmax of the retrieval that it is likeliest in; `plain` is its share in
the softmax of the TRM's scores without a preference. a and b belong to the policy
(`rollout.list_prior`). What any turn's preference excludes (`not Musical`) comes after all else, whatever the
weights. So a list is distinct, known and as long as the pool allows by
construction, its probability is exact, and training sees the distribution that drew it.
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
from deeprec.rollout.retrieval import asked_text, keeping_exclusions, log_shares
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
        pools = [self._pool(episode, sources[id(episode.example)]) for episode in episodes]
        rows = [
            (self._context(episode), [self._titles.title(item) for item in pool])
            for episode, (pool, _, _) in zip(episodes, pools, strict=True)
        ]
        found: list[Evidence | None] = [None] * len(episodes)
        # A model has no positions behind its context: some families fail there, others say anything.
        fitting = [place for place, row in enumerate(rows) if self._fits(*row)]
        likelihoods = self._likelihoods.behind([rows[place] for place in fitting])
        for place, likelihood in zip(fitting, likelihoods, strict=True):
            pool, asked, plain = pools[place]
            left_out = self._bearers.left_out(turn.preference for turn in episodes[place].turns)
            excluded = np.array([item in left_out for item in pool], dtype=np.bool_)
            found[place] = Evidence(pool, likelihood, asked, plain, excluded)
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
            allowed = np.asarray(row, dtype=np.float64).copy()
            # Shares are of what may be recommended: what a user knows takes nothing from the rest.
            allowed[[0, *self._dataset.exclusions(example)]] = -np.inf
            whole = np.logaddexp.reduce(allowed)
            shares = allowed - whole if np.isfinite(whole) else allowed
            found[id(example)] = Plain(items, np.maximum(shares, NOTHING), np.isfinite(allowed))
        return found

    def _pool(
        self, episode: Episode, plain: Plain
    ) -> tuple[tuple[int, ...], NDArray[np.float64], NDArray[np.float64]]:
        """Items in the order in which they were found, and the TRM's two logarithms of each."""
        if episode.turns and clean_wish(episode.example.wish):
            best = self._as_asked(episode, plain)
        else:
            best = self._found(episode, plain)
        if self._config.list_items == "catalogue":
            # In no retrieval: as likely as the last of all that was found.
            least = min(best.values(), default=NOTHING)
            for item in np.flatnonzero(plain.allowed).tolist():
                best.setdefault(item, least)
        pool = tuple(best)
        return pool, np.array(list(best.values()), dtype=np.float64), plain.shares[list(pool)]

    def _found(self, episode: Episode, plain: Plain) -> dict[int, float]:
        """Of each item that was found or is on the plain list, the log-share in the list that it is likeliest in."""
        best: dict[int, float] = {}
        retrievals = [(turn.retrieved, turn.scores) for turn in episode.turns]
        own = tuple(plain.shares[list(plain.items)].tolist())
        for items, scores in (*retrievals, (plain.items, own)):
            for item, value in zip(items, log_shares(scores), strict=True):
                best[item] = max(value, best.get(item, NOTHING))
        return best

    def _as_asked(self, episode: Episode, plain: Plain) -> dict[int, float]:
        """The log-share of all that was found, and of the plain list, by the preference that each fits best.

        Whoever says what they want is not shown the plain list for its own sake: its items count by how they fit.
        """
        texts = [asked_text(turn.preference, episode.example, self._config) for turn in episode.turns]
        scores = self._retriever.score(
            [episode.example.history] * len(texts), keeping_exclusions(texts, self._bearers)
        )
        found = dict.fromkeys([item for turn in episode.turns for item in turn.retrieved] + list(plain.items))
        items = list(found)
        shares = [
            row[items].astype(np.float64) - np.logaddexp.reduce(np.asarray(turn.scores, dtype=np.float64))
            for row, turn in zip(scores, episode.turns, strict=True)
            if turn.scores
        ]
        best = np.max(shares, axis=0) if shares else np.full(len(items), NOTHING)
        return dict(zip(items, np.maximum(best, NOTHING).tolist(), strict=True))

    def _choose(
        self, episode: Episode, known: Evidence, weights: ListPrior, *, greedy: bool
    ) -> tuple[tuple[int, ...], Draw]:
        prior = torch.from_numpy(known.prior(weights)).float()[None]
        logits = list_logits(torch.from_numpy(known.likelihood).float()[None], prior, torch.ones_like(prior))
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
            lists=lists,
            logprobs=tuple(tuple(row[: len(lists[0])]) for row in logs.tolist()),
        )

    def _uniforms(self, episode: Episode, places: int) -> Tensor:
        seed, start = self._seed ^ _STREAM, len(episode.context)
        found = uniforms_for(seed, self._part, episode.key, start, self._drawn * places)
        return torch.from_numpy(found.reshape(1, self._drawn, places))


@dataclass(frozen=True)
class Plain:
    """What the TRM says of a user without a preference: its list, the log-share (n_items + 1,) of every item,
    and whether that may be recommended at all (n_items + 1,).
    """

    items: tuple[int, ...]
    shares: NDArray[np.float64]
    allowed: NDArray[np.bool_]


def list_logits(likelihood: Tensor, prior: Tensor, allowed: Tensor) -> Tensor:
    """Logits (B, P) of what a list is drawn from; the same in sampling as in training."""
    return torch.where(allowed.bool(), likelihood + prior, NEVER)
