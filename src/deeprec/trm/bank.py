"""The phrase bank: every preference that training may ask about an item, embedded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.trm.base import TextEncoder
from deeprec.trm.phrases import item_phrases, join_phrases

_SETS_PER_ITEM = 12


@dataclass(frozen=True)
class PhraseBank:
    """Phrase sets and their vectors; set 0 is empty, its vector zero: no preference.

    `sets[item_index, :counts[item_index]]` are the sets that are true of an item.
    """

    texts: tuple[str, ...]
    vectors: NDArray[np.float32]  # (S, D)
    sets: NDArray[np.int64]  # (n_items + 1, most)
    counts: NDArray[np.int64]  # (n_items + 1,)

    def sample(self, items: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """One random set index for each item; 0 for an item without phrases."""
        place = (rng.random(len(items)) * self.counts[items]).astype(np.int64)
        return np.where(self.counts[items] > 0, self.sets[items, place], 0)

    def sample_texts(self, items: Sequence[int], rng: np.random.Generator) -> list[str]:
        """One random true preference for each item, as text; empty for an item without phrases."""
        return [self.texts[row] for row in self.sample(np.asarray(items, dtype=np.int64), rng)]


def build_bank(
    catalog: Catalog, encoder: TextEncoder, instruction: str, rng: np.random.Generator
) -> PhraseBank:
    """All sets of one or two phrases of every item, at most a dozen an item (then drawn at random)."""
    index: dict[str, int] = {"": 0}
    rows: list[list[int]] = [[]]
    for item in catalog.items:
        phrases = item_phrases(item)
        chosen = [[phrase] for phrase in phrases] + [list(pair) for pair in combinations(phrases, 2)]
        if len(chosen) > _SETS_PER_ITEM:
            chosen = [chosen[place] for place in np.sort(rng.permutation(len(chosen))[:_SETS_PER_ITEM])]
        rows.append([index.setdefault(join_phrases(part), len(index)) for part in chosen])
    texts = tuple(index)
    vectors = np.zeros((len(texts), encoder.dim), dtype=np.float32)
    if len(texts) > 1:
        vectors[1:] = encoder.encode([f"{instruction}{text}" for text in texts[1:]])
    sets = np.zeros((len(rows), max(1, *(len(row) for row in rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        sets[place, : len(row)] = row
    return PhraseBank(texts, vectors, sets, np.array([len(row) for row in rows], dtype=np.int64))
