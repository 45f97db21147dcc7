"""The simulated catalogue: readable titles, genres, years, popularity and series.

Titles tell something, as real ones do: the noun comes from the words of the item's first
genre, and the parts of a series share a title and carry a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from deeprec.data.words import ADJECTIVES, GENRE_WORDS
from deeprec.errors import ConfigError

FIRST_YEAR, LAST_YEAR = 1960, 2019
_SERIES_SHARE = 0.4  # of the items belong to a series of two to four parts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """The catalogue as arrays, I items: what tastes and choices are computed from.

    `genre_weights` is (I, G), rows sum to 1; `previous` (I,) is the part of the series
    before an item, or -1.
    """

    titles: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    genre_names: tuple[str, ...]
    genre_weights: Floats
    years: NDArray[np.int64]
    log_popularity: Floats
    previous: NDArray[np.int64]

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.titles)


def build_world(n_items: int, n_genres: int, rng: np.random.Generator) -> World:
    """Draw a catalogue. Raises ConfigError when there are more genres than names for them."""
    if n_genres > len(GENRE_WORDS):
        raise ConfigError(
            f"'data.synthetic.genres' = {n_genres}: there are names for {len(GENRE_WORDS)} at most"
        )
    names = tuple(GENRE_WORDS)[:n_genres]
    frequency = 1 / np.arange(2, n_genres + 2)
    series, part = _series(n_items, rng)
    heads = int(series.max()) + 1
    genres = [_genres(names, frequency / frequency.sum(), rng) for _ in range(heads)]
    first_year = FIRST_YEAR + np.floor((LAST_YEAR + 1 - FIRST_YEAR) * rng.beta(1.8, 1.1, heads)).astype(
        np.int64
    )
    years = np.minimum(first_year[series] + 3 * (part - 1), LAST_YEAR)
    popularity = rng.normal(0, 0.9, heads)[series] + rng.normal(0, 0.3, n_items) - 0.2 * (part - 1)
    titles = _titles(genres, rng)
    weights = np.zeros((n_items, n_genres))
    for item, head in enumerate(series):
        weights[item, [names.index(genre) for genre in genres[head]]] = 1 / len(genres[head])
    same = np.concatenate([[False], series[1:] == series[:-1]])
    return World(
        titles=tuple(
            _full_title(titles[s], int(p), int(y)) for s, p, y in zip(series, part, years, strict=True)
        ),
        genres=tuple(genres[head] for head in series),
        genre_names=names,
        genre_weights=weights,
        years=years,
        log_popularity=popularity,
        previous=np.where(same, np.arange(n_items) - 1, -1),
    )


def _series(n_items: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each item the number of its series (a single work is one too) and its part, from 1."""
    series: list[int] = []
    part: list[int] = []
    number = 0
    while len(series) < n_items:
        mean_length = 3
        is_series = rng.random() < _SERIES_SHARE / (mean_length - _SERIES_SHARE * (mean_length - 1))
        length = min(int(rng.integers(2, 5)) if is_series else 1, n_items - len(series))
        series += [number] * length
        part += range(1, length + 1)
        number += 1
    return np.array(series), np.array(part)


def _genres(names: tuple[str, ...], frequency: Floats, rng: np.random.Generator) -> tuple[str, ...]:
    count = min(int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15])), len(names))
    return tuple(names[index] for index in rng.choice(len(names), count, replace=False, p=frequency))


def _titles(genres: list[tuple[str, ...]], rng: np.random.Generator) -> list[str]:
    """A unique title for each work; two adjectives once the single ones are used up."""
    unused: dict[str, list[str]] = {}
    titles = []
    for first, *_ in genres:
        if not unused.get(first):
            unused[first] = _fresh_titles(first, again=first in unused, rng=rng)
        titles.append(unused[first].pop())
    if len(set(titles)) < len(titles):
        raise ConfigError(
            f"'data.synthetic.items': no unique titles for {len(titles)} works; ask for fewer items"
        )
    return titles


def _fresh_titles(genre: str, again: bool, rng: np.random.Generator) -> list[str]:
    nouns = GENRE_WORDS[genre]
    if again:
        found = [f"The {a} {b} {noun}" for a, b, noun in product(ADJECTIVES, ADJECTIVES, nouns) if a != b]
    else:
        found = [
            f"The {adjective} {noun}" for adjective, noun in product(ADJECTIVES, nouns) if adjective != noun
        ]
    rng.shuffle(found)
    return found


def _full_title(title: str, part: int, year: int) -> str:
    return f"{title} {part} ({year})" if part > 1 else f"{title} ({year})"
