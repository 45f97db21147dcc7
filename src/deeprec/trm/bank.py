"""The phrase bank: every phrase that training may say about an item, embedded once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.trm.base import TextEncoder
from deeprec.trm.phrases import item_phrases, title_phrases
from deeprec.trm.talk import small_talk, wrap

PHRASES = 3  # at most, in one preference of the training
_TITLE_SHARE = 0.05  # of the preferences drawn about an item, those with a piece of its title
_WRAPPED_SHARE = 0.2  # of the phrases, those with words around them
_TALK_SHARE = 0.2  # of the preferences, those that say nothing about any item
_TALK = 1000  # different ones


@dataclass(frozen=True)
class PhraseBank:
    """Phrases and their vectors; phrase 0 is empty, its vector zero.

    `tags[item_index, :tag_counts[item_index]]` are the item's categories, decade and year;
    `pieces` and `piece_counts` are the same for pieces of its title. `wrapped` gives for each
    phrase the same with words around it, `talk` lists phrases that say nothing.
    """

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]  # (P, D)
    tags: NDArray[np.int64]  # (n_items + 1, most)
    tag_counts: NDArray[np.int64]  # (n_items + 1,)
    pieces: NDArray[np.int64]
    piece_counts: NDArray[np.int64]
    wrapped: NDArray[np.int64]  # (P,)
    talk: NDArray[np.int64]

    def sample(self, items: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """One to PHRASES different phrases of each item (N, PHRASES), 0 behind the last.

        A row is empty where the item has no phrase, and in a few rows the phrase is small talk.
        """
        picked = _draw(self.tags, self.tag_counts, items, PHRASES, rng)
        wanted = rng.integers(1, PHRASES + 1, len(items))  # as a policy asks: for one thing, or several
        picked[np.arange(PHRASES) >= wanted[:, None]] = 0
        piece = _draw(self.pieces, self.piece_counts, items, 1, rng)[:, 0]
        instead = (piece > 0) & ((rng.random(len(items)) < _TITLE_SHARE) | (self.tag_counts[items] == 0))
        instead &= (picked != piece[:, None]).all(axis=1)  # a title may hold a tag, its year say
        picked[instead, 0] = piece[instead]
        picked = np.where(rng.random(picked.shape) < _WRAPPED_SHARE, self.wrapped[picked], picked)
        talking = rng.random(len(items)) < _TALK_SHARE
        picked[talking] = 0
        picked[talking, 0] = rng.choice(self.talk, int(talking.sum()))
        return picked


def build_bank(
    catalog: Catalog,
    encoder: TextEncoder,
    instruction: str,
    rng: np.random.Generator,
    held_out: Collection[str] = (),
) -> PhraseBank:
    """All phrases of all items but those `held_out`, which training then never says."""
    index: dict[str, int] = {"": 0}
    hidden = set(held_out)

    def rows(phrases: list[list[str]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        kept = [[text for text in row if text not in hidden] for row in phrases]
        counts = np.array([0, *(len(row) for row in kept)], dtype=np.int64)
        table = np.zeros((len(kept) + 1, max(1, counts.max())), dtype=np.int64)
        for place, row in enumerate(kept, 1):
            table[place, : len(row)] = [index.setdefault(text, len(index)) for text in row]
        return table, counts

    tags = rows([item_phrases(item) for item in catalog.items])
    pieces = rows([title_phrases(item) for item in catalog.items])
    plain = list(index)
    wrapped = np.array([0, *(index.setdefault(wrap(text, rng), len(index)) for text in plain[1:])])
    wrapped = np.concatenate([wrapped, np.arange(len(plain), len(index))])  # not a second time
    talk = np.array([index.setdefault(text, len(index)) for text in small_talk(_TALK, rng)])
    texts = tuple(index)
    vectors = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    vectors[1:] = encoder.encode([f"{instruction}{text}" for text in texts[1:]])
    return PhraseBank(texts, vectors, *tags, *pieces, wrapped, talk)


def phrase_features(catalog: Catalog, encoder: TextEncoder) -> NDArray[np.float32]:
    """Summed vectors of each item's title and phrases (n_items + 1, D), row 0 zero.

    A sum, not a mean: one more category does not make the others less true.
    """
    phrases = [[item.title, *item_phrases(item)] for item in catalog.items]
    texts = list(dict.fromkeys(text for row in phrases for text in row))
    place = {text: number for number, text in enumerate(texts)}
    vectors = encoder.encode(texts)
    features = np.zeros((catalog.n_items + 1, encoder.dim), dtype=np.float32)
    for number, row in enumerate(phrases, 1):
        features[number] = vectors[[place[text] for text in row]].sum(axis=0)
    return features


def _draw(
    table: NDArray[np.int64],
    counts: NDArray[np.int64],
    items: NDArray[np.int64],
    most: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Up to `most` different entries of each item's row (N, most), in random order, 0 behind the last."""
    keys = rng.random((len(items), table.shape[1]))
    keys[np.arange(table.shape[1]) >= counts[items][:, None]] = 2.0  # empty places come last
    order = np.argsort(keys, axis=1)[:, :most]
    drawn = np.take_along_axis(table[items], order, axis=1)
    return np.pad(drawn, ((0, 0), (0, most - drawn.shape[1])))
