"""The simulated world: reproducible, readable, structured, with a known ceiling."""

from __future__ import annotations

import re

import numpy as np
import pytest

from deeprec.config import DataConfig, SyntheticConfig
from deeprec.data.prepare import prepare
from deeprec.data.synthetic import choice_probabilities, oracle, simulate
from deeprec.data.world import World, build_world
from deeprec.errors import ConfigError, DataError
from deeprec.metrics import ndcg, ranks_in_lists

SMALL = SyntheticConfig(users=300, items=200, genres=8, interactions_per_user=25)


def test_equal_seeds_give_equal_worlds() -> None:
    config = DataConfig(synthetic=SMALL)
    assert prepare(config, seed=1).fingerprint == prepare(config, seed=1).fingerprint
    assert prepare(config, seed=1).fingerprint != prepare(config, seed=2).fingerprint


def test_catalogue_is_readable_and_unique() -> None:
    world = build_world(1500, 8, np.random.default_rng(0))
    assert len(set(world.titles)) == 1500
    assert all(re.fullmatch(r"The( [A-Z][a-z]+){2,3}( [234])? \(\d{4}\)", title) for title in world.titles)
    assert all(f"({year})" in title for title, year in zip(world.titles, world.years, strict=True))
    assert {len(genres) for genres in world.genres} == {1, 2, 3}
    assert np.allclose(world.genre_weights.sum(axis=1), 1)
    parts = np.flatnonzero(world.previous >= 0)
    assert 0.15 < len(parts) / 1500 < 0.45
    for part in parts:
        assert world.genres[part] == world.genres[world.previous[part]]
        head = world.titles[world.previous[part]].split(" (")[0].rstrip(" 234")
        assert world.titles[part].startswith(f"{head} ")


def test_histories_have_no_repeats_and_time_goes_on() -> None:
    simulation = simulate(SMALL, 0)
    for user, choices in enumerate(simulation.choices):
        taken = choices[choices >= 0]
        assert len(set(taken)) == len(taken) >= 8
        assert (np.diff(simulation.times[user]) > 0).all()
    assert set(np.unique(simulation.ratings)) == {1, 2, 3, 4, 5}


def hand_world() -> World:
    """Four items: two of genre A in a series, one of B, one of both."""
    return World(
        titles=("a", "a 2", "b", "ab"),
        genres=(("A",), ("A",), ("B",), ("A", "B")),
        genre_names=("A", "B"),
        genre_weights=np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5]]),
        years=np.array([1990, 1990, 1990, 2000]),
        log_popularity=np.log([1.0, 1.0, 2.0, 1.0]),
        previous=np.array([-1, 0, -1, -1]),
    )


def test_choice_probabilities_by_hand() -> None:
    taken = np.array([[True, False, False, False]])
    recent = np.array([[0, -1, -1]])
    found = choice_probabilities(hand_world(), np.array([[1.0, 0.0]]), np.array([1990.0]), taken, recent)
    # utilities: liking + 0.7 log popularity + 2 overlap with the last item + sequel
    utilities = np.array([1 + 2 + 3, 0 + 0.7 * np.log(2), 0.5 - 0.9 + 1])
    by_taste = np.exp(utilities) / np.exp(utilities).sum()
    by_fame = np.array([1, 2, 1]) / 4
    assert found[0, 0] == 0
    assert np.allclose(found[0, 1:], 0.9 * by_taste + 0.1 * by_fame)


def test_oracle_is_a_ceiling_and_calibrated() -> None:
    config = DataConfig(synthetic=SMALL)
    dataset = prepare(config, seed=0)
    examples = dataset.examples("rl") + dataset.examples("validation") + dataset.examples("test")
    best = oracle(SMALL, 0, dataset)
    scores = best.scores(examples)
    assert np.allclose(scores.sum(axis=1), 1)
    rows = np.arange(len(examples))
    assert all(scores[row, list(examples[row].history)].max() == 0 for row in range(50))
    # calibrated: the drawn item's mean probability is that of a draw from these probabilities
    drawn = scores[rows, [example.target for example in examples]].mean()
    assert drawn == pytest.approx((scores**2).sum(axis=1).mean(), rel=0.1)
    targets = [example.target for example in examples]
    ceiling = ndcg(ranks_in_lists([entry.ranking for entry in best.recommend(examples)], targets), 10).mean()
    counts = np.zeros(dataset.catalog.n_items + 1)
    for fit in dataset.fit_histories():
        counts[list(fit.history)] += 1
    popular = []
    for example in examples:
        left = [item for item in np.argsort(-counts, kind="stable") if item and item not in example.history]
        popular.append([int(item) for item in left[:10]])
    assert ceiling > 2 * ndcg(ranks_in_lists(popular, targets), 10).mean()
    assert 0.15 < ceiling < 0.6


def test_oracle_refuses_another_world() -> None:
    dataset = prepare(DataConfig(synthetic=SMALL), seed=0)
    with pytest.raises(DataError, match="comes from another seed or other settings"):
        oracle(SMALL, 1, dataset).recommend(dataset.examples("test"))


def test_impossible_settings() -> None:
    with pytest.raises(ConfigError, match=r"'data\.synthetic\.genres' = 99"):
        simulate(SyntheticConfig(genres=99), 0)
    with pytest.raises(ConfigError, match=r"'data\.synthetic\.items' = 10"):
        simulate(SyntheticConfig(items=10), 0)
