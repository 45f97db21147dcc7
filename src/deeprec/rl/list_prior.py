"""How much a policy's lists should trust the TRM: chosen on validation users."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeprec.config import WishesConfig
from deeprec.progress import Bar, progress_bar
from deeprec.rl.wish_scripts import validation_wishes
from deeprec.rollout.environment import Environment
from deeprec.rollout.episode import Episode
from deeprec.rollout.list_prior import ListPrior, set_prior
from deeprec.rollout.masked import Evidence, MaskedLists
from deeprec.rollout.runner import run_episodes
from deeprec.trm.training import validation_examples
from deeprec.types import Example, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# 1 makes equals of both, a product of probabilities; 0 leaves the TRM out.
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


class Recorder:
    """A list maker that keeps what is known of every list's items, by the key of its episode."""

    def __init__(self, maker: MaskedLists) -> None:
        self._maker = maker
        self.evidence: dict[int, Evidence] = {}

    def lists(self, episodes: Sequence[Episode], *, greedy: bool) -> None:
        """Keep the evidence; the list itself is the pool's beginning."""
        found = self._maker.evidence(episodes)
        for episode, known in zip(episodes, found, strict=True):
            if known is None:
                episode.leave_list()
                continue
            self.evidence[episode.key] = known
            episode.write_list(known.pool[: self._maker.size])

    def forget(self) -> None:
        """As the maker does."""
        self._maker.forget()

    def reseed(self, seed: int) -> None:
        """As the maker does."""
        self._maker.reseed(seed)


def set_priors(model: PreTrainedModel, environment: Environment, wishes: WishesConfig) -> None:
    """Choose the weights of the environment's policy, `model`; others for who says a wish, where it has learned any."""
    examples = validation_examples(environment.dataset, environment.config.prior_users, seed=0)
    set_prior(model, find_prior(environment, examples))
    if wishes.share:
        wishing = validation_wishes(environment.dataset, examples, wishes)
        set_prior(model, find_prior(environment, wishing), wished=True)


def find_prior(environment: Environment, examples: Sequence[Example]) -> ListPrior:
    """The weights for the policy of this environment; those of equals where no user is left to choose on."""
    if not examples:
        return ListPrior()
    with progress_bar("How much to trust the TRM", len(examples)) as bar:
        evidence, _ = gather_evidence(environment, examples, bar)
    return choose_prior(evidence, [example.target for example in examples])[0]


def gather_evidence(
    environment: Environment, examples: Sequence[Example], bar: Bar | None = None
) -> tuple[list[Evidence | None], list[Trajectory]]:
    """What greedy episodes of these examples may list, None for one that opened no list; and the trajectories.

    Raises TypeError for an environment whose lists are not masked.
    """
    if not isinstance(environment.lists, MaskedLists):
        raise TypeError("only masked lists have a prior")
    recorder = Recorder(environment.lists)
    trajectories = run_episodes(examples, environment.with_lists(recorder), greedy=True, bar=bar)
    return [recorder.evidence.get(key) for key in range(len(examples))], trajectories


def choose_prior(
    evidence: Sequence[Evidence | None], targets: Sequence[int]
) -> tuple[ListPrior, dict[ListPrior, float]]:
    """The pair of weights with the best NDCG@10, and that of every pair.

    Neighbouring pairs differ by chance alone on a few hundred users: what counts is the mean of a
    pair and its neighbours.
    """
    pairs = [ListPrior(asked, plain) for asked, plain in product(WEIGHTS, WEIGHTS)]
    gains = [
        _gains(known, target, pairs)
        for known, target in zip(evidence, targets, strict=True)
        if known is not None and target in known.pool
    ]
    # Users whose target is not in the pool add 0 whatever the weights: they count in the mean alone.
    total = np.sum(gains, axis=0) if gains else np.zeros(len(pairs))
    means = (total / max(len(targets), 1)).reshape(len(WEIGHTS), len(WEIGHTS))
    best = int(_smoothed(means).argmax())
    return pairs[best], dict(zip(pairs, means.ravel().tolist(), strict=True))


def _gains(known: Evidence, target: int, pairs: Sequence[ListPrior]) -> NDArray[np.float64]:
    """NDCG@10 (pairs,) of one user whose target is in the pool; of equals the one found first leads.

    1 / log2(rank + 2) for a rank below 10, counted from 0, else 0.
    """
    asked, plain = (np.array([getattr(pair, name) for pair in pairs])[:, None] for name in ("asked", "plain"))
    scores = known.likelihood + asked * known.asked + plain * known.plain  # (pairs, P)
    scores -= known.lowered(scores)
    place = known.pool.index(target)
    own = scores[:, place, None]
    ranks = (scores > own).sum(axis=1) + (scores[:, :place] == own).sum(axis=1)
    return np.asarray(np.where(ranks < 10, 1.0 / np.log2(ranks + 2.0), 0.0), dtype=np.float64)


def _smoothed(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each cell's mean with the cells beside it (and across corners)."""
    padded = np.pad(means, 1, mode="edge")
    rows, columns = means.shape
    parts = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(parts, axis=0), dtype=np.float64)
