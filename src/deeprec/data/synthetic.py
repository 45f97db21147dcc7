"""Simulated users over a simulated catalogue, and the best ranking that can be had.

A user has a taste over genres, which drifts a little with every choice, and a favourite
time. The next item is drawn from

    (1 - noise) * softmax(genre taste + closeness in years + popularity + genres of the last
                          item + sequel of a recent item)  +  noise * popularity

over the items not yet taken. These probabilities are known, so ranking by them (`Oracle`)
is the best that any recommender can do on average, even one that reads minds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.config import SyntheticConfig
from deeprec.data.dataset import Dataset
from deeprec.data.raw import RawData
from deeprec.data.world import FIRST_YEAR, LAST_YEAR, World, build_world
from deeprec.errors import ConfigError, DataError
from deeprec.methods import ORACLE
from deeprec.recommender import Recommendation
from deeprec.types import Example

_START = 1_577_836_800  # 2020-01-01, after every item's year
_DAY = 86_400
_USERS_PER_BLOCK = 512  # bounds the (users, items) matrices
_FEWEST = 8  # interactions of a user
_RECENT = 3  # items whose sequels attract
NOISE = 0.1  # share of choices without regard to taste
DRIFT = 0.1  # how far a taste wanders with every choice
SEQUELS = 3.0  # how much the next part of a series attracts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Simulation:
    """U users, at most T choices each; unused places hold item -1.

    `choices`, `times` and `ratings` are (U, T); `tastes` (U, T, G) is the genre taste at
    the moment of each choice, `centres` (U,) the favourite year.
    """

    world: World
    choices: Ints
    times: Ints
    ratings: Ints
    tastes: Floats
    centres: Floats
    profiles: pl.DataFrame

    @cached_property
    def raw(self) -> RawData:
        """The simulated logs as a source like any other."""
        users, steps = np.nonzero(self.choices >= 0)
        taken = self.choices[users, steps]
        item_ids = np.array([item_id(item) for item in range(self.world.n_items)])
        user_ids = np.array([user_id(user) for user in range(len(self.choices))])
        interactions = pl.DataFrame(
            {
                "line": np.arange(1, len(users) + 1),
                "user_id": user_ids[users],
                "item_id": item_ids[taken],
                "timestamp": self.times[users, steps].astype(np.float64),
                "rating": self.ratings[users, steps].astype(np.float32),
            }
        )
        items = pl.DataFrame(
            {
                "line": np.arange(1, self.world.n_items + 1),
                "item_id": item_ids,
                "title": self.world.titles,
                "categories": [list(genres) for genres in self.world.genres],
                "year": pl.Series(self.world.years, dtype=pl.Int32),
            }
        )
        place = "synthetic"
        return RawData("synthetic", interactions, items, self.profiles, place, place, ordered=True)


def item_id(item: int) -> str:
    """Id of the item at a position of the world, from 0."""
    return f"i{item + 1}"


def user_id(user: int) -> str:
    """Id of the user at a position of the simulation, from 0."""
    return f"u{user + 1}"


def simulate(config: SyntheticConfig, seed: int) -> Simulation:
    """Draw catalogue, users and their choices; equal settings and seed give equal data."""
    if config.items < 2 * _FEWEST:
        raise ConfigError(f"'data.synthetic.items' = {config.items}: ask for {2 * _FEWEST} at least")
    rng = np.random.default_rng([seed, 20])
    world = build_world(config.items, config.genres, rng)
    most = config.items // 2
    lengths = np.clip(
        _FEWEST + rng.poisson(max(config.interactions_per_user - _FEWEST, 0), config.users), 1, most
    )
    steps = int(lengths.max())
    tastes = _draw_tastes(config, world, steps, rng)
    centres = FIRST_YEAR + (LAST_YEAR - FIRST_YEAR) * rng.beta(1.8, 1.1, config.users)
    choices = np.full((config.users, steps), -1)
    for start in range(0, config.users, _USERS_PER_BLOCK):
        block = slice(start, start + _USERS_PER_BLOCK)
        choices[block] = _choose(world, config, tastes[block], centres[block], lengths[block], rng)
    gaps = 3600 + rng.exponential(2 * _DAY, choices.shape).astype(np.int64)
    times = _START + rng.integers(0, 90 * _DAY, (config.users, 1)) + np.cumsum(gaps, axis=1)
    return Simulation(
        world=world,
        choices=choices,
        times=times,
        ratings=_rate(world, choices, tastes, centres, rng),
        tastes=tastes,
        centres=centres,
        profiles=_profiles(centres, rng),
    )


def choice_probabilities(
    world: World,
    taste: Floats,
    centre: Floats,
    taken: NDArray[np.bool_],
    recent: Ints,
) -> Floats:
    """Probability (B, I) of each item as the next choice.

    `taste` (B, G), `centre` (B,), `taken` (B, I) marks items already chosen, `recent`
    (B, 3) the latest items, newest first, -1 where there is none.
    """
    utility = _liking(world, taste, centre) + 0.7 * world.log_popularity
    last = recent[:, 0]
    overlap = world.genre_weights[last] @ world.genre_weights.T  # (B, I)
    utility += 2.0 * np.where(last[:, None] >= 0, overlap, 0)
    follows = (world.previous[None, None, :] == recent[:, :, None]) & (recent[:, :, None] >= 0)
    utility += SEQUELS * follows.any(axis=1)
    utility[taken] = -np.inf
    by_taste = np.exp(utility - utility.max(axis=1, keepdims=True))
    by_fame = np.exp(world.log_popularity) * ~taken
    by_taste *= (1 - NOISE) / by_taste.sum(axis=1, keepdims=True)
    probabilities: Floats = by_taste + by_fame * (NOISE / by_fame.sum(axis=1, keepdims=True))
    return probabilities


class Oracle:
    """Ranks by the simulation's own probabilities: the ceiling for every recommender.

    It knows each user's taste at the moment of the choice, but not the choice.
    """

    name = ORACLE

    def __init__(self, simulation: Simulation, dataset: Dataset) -> None:
        self._simulation = simulation
        self._dataset = dataset
        self._users = {user_id(user): user for user in range(len(simulation.choices))}
        ids = [item_id(item) for item in range(simulation.world.n_items)]
        self._indices = np.array(
            [dataset.catalog.index_of(entry) or 0 for entry in ids]
        )  # (I,), 0: not in use

    def scores(self, examples: Sequence[Example]) -> Floats:
        """Probability of every catalogue item as the next choice, (B, n_items + 1); column 0 is 0.

        Raises DataError when an example is none of this simulation's choices.
        """
        simulation = self._simulation
        users = np.array([self._user(example) for example in examples], dtype=np.int64)
        steps = np.array(
            [self._step(example, user) for example, user in zip(examples, users, strict=True)], int
        )
        recent = np.full((len(examples), _RECENT), -1)
        taken = np.zeros((len(examples), simulation.world.n_items), dtype=bool)
        for row, (user, step) in enumerate(zip(users, steps, strict=True)):
            past = simulation.choices[user, :step]
            taken[row, past] = True
            latest = past[::-1][:_RECENT]
            recent[row, : len(latest)] = latest
        tastes, centres = simulation.tastes[users, steps], simulation.centres[users]
        probabilities = choice_probabilities(simulation.world, tastes, centres, taken, recent)
        scores = np.zeros((len(examples), self._dataset.catalog.n_items + 1))
        scores[:, self._indices] = probabilities
        scores[:, 0] = 0
        return scores

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The k most probable items of each example, fewer where fewer can still be chosen; ties break by index."""
        found = []
        for start in range(0, len(examples), _USERS_PER_BLOCK):
            scores = self.scores(examples[start : start + _USERS_PER_BLOCK])
            best = np.argsort(-scores[:, 1:], axis=1, kind="stable")[:, :k] + 1
            for row, items in enumerate(best.tolist()):
                possible = tuple(item for item in items if scores[row, item] > 0)
                found.append(Recommendation(possible, self.name))
        return found

    def _user(self, example: Example) -> int:
        if example.user_id not in self._users:
            raise DataError(f"user '{example.user_id}' is not one of the simulated users")
        return self._users[example.user_id]

    def _step(self, example: Example, user: int) -> int:
        at = np.flatnonzero(self._simulation.times[user] == example.timestamp)
        item = self._simulation.choices[user, at[0]] if len(at) else -1
        if item < 0 or (example.target and self._indices[item] != example.target):
            raise DataError(
                f"user '{example.user_id}': the simulation made no such choice at {example.timestamp}; "
                "the data set comes from another seed or other settings"
            )
        return int(at[0])


def oracle(config: SyntheticConfig, seed: int, dataset: Dataset) -> Oracle:
    """The oracle of a data set that was prepared with these settings and this seed."""
    return Oracle(simulate(config, seed), dataset)


def _liking(world: World, taste: Floats, centre: Floats) -> Floats:
    """How much each of B users likes each item for its genres and its time, (B, I)."""
    distance = np.abs(world.years[None, :] - centre[:, None])
    return taste @ world.genre_weights.T - 0.09 * distance


def _draw_tastes(config: SyntheticConfig, world: World, steps: int, rng: np.random.Generator) -> Floats:
    """(U, T, G): two or three favourite genres, then a random walk."""
    genres = len(world.genre_names)
    start = rng.normal(0, 0.7, (config.users, genres))
    favourites = np.argsort(rng.random((config.users, genres)), axis=1) < rng.integers(
        2, 4, (config.users, 1)
    )
    walk = DRIFT * np.cumsum(rng.normal(0, 1, (config.users, steps, genres)), axis=1)
    tastes: Floats = (start + 3.0 * favourites)[:, None, :] + walk
    return tastes


def _choose(
    world: World,
    config: SyntheticConfig,
    tastes: Floats,
    centres: Floats,
    lengths: Ints,
    rng: np.random.Generator,
) -> Ints:
    users, steps = tastes.shape[:2]
    choices = np.full((users, steps), -1)
    taken = np.zeros((users, world.n_items), dtype=bool)
    recent = np.full((users, _RECENT), -1)
    for step in range(steps):
        odds = choice_probabilities(world, tastes[:, step], centres, taken, recent)
        ladder = np.cumsum(odds, axis=1)
        draws = rng.random((users, 1)) * ladder[:, -1:]
        drawn = np.minimum((ladder <= draws).sum(axis=1), world.n_items - 1)
        active = step < lengths
        choices[active, step] = drawn[active]
        taken[active, drawn[active]] = True
        recent[active] = np.column_stack([drawn[active], recent[active, :-1]])
    return choices


def _rate(world: World, choices: Ints, tastes: Floats, centres: Floats, rng: np.random.Generator) -> Ints:
    """Ratings 1 to 5: better the more the item suits the taste of that moment."""
    genre_part = np.einsum("utg,utg->ut", tastes, world.genre_weights[choices])
    liking = genre_part - 0.09 * np.abs(world.years[choices] - centres[:, None])
    rated = np.round(2.6 + 0.7 * liking + rng.normal(0, 0.6, liking.shape))
    clipped: Ints = np.clip(rated, 1, 5).astype(np.int64)
    return clipped


def _profiles(centres: Floats, rng: np.random.Generator) -> pl.DataFrame:
    """Age tells something of the favourite years, the region tells nothing."""
    ages = 2020 - centres + rng.normal(20, 6, len(centres))
    bands = np.array(["18-25", "26-35", "36-45", "46-55", "56+"])[np.digitize(ages, [25.5, 35.5, 45.5, 55.5])]
    regions = rng.choice(["north", "south", "east", "west"], len(centres))
    return pl.DataFrame(
        {
            "user_id": [user_id(user) for user in range(len(centres))],
            "age": bands,
            "region": regions,
        }
    )
