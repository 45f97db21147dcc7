"""What an item is called: one token a title, or several codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog

START = "<|history|>"  # in front of every history, an empty one too

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ItemNames:
    """The codes of every item, and how a code is written.

    `codes` (n_items + 1, L) count from 0 at each level; row 0 pads and is zero. `texts` holds
    for each level what its codes look like: no text is part of another, and catalogue labels
    hold no angle brackets, so that tokens can't be confused with anything else that is written.
    `start` stands in front of every history.
    """

    codes: Ints
    texts: tuple[tuple[str, ...], ...]
    start: str = START

    @property
    def levels(self) -> int:
        """Codes of one item, L."""
        return len(self.texts)

    def tokens(self) -> list[str]:
        """Every token that a vocabulary needs: the start, then the codes of each level."""
        return [self.start, *(text for level in self.texts for text in level)]

    def text(self, item: int) -> str:
        """An item as it is written."""
        return "".join(level[code] for level, code in zip(self.texts, self.codes[item].tolist(), strict=True))


def title_names(catalog: Catalog) -> ItemNames:
    """One token a title, in the order of the catalogue."""
    codes = np.arange(-1, catalog.n_items, dtype=np.int64)[:, None]
    codes[0] = 0
    return ItemNames(codes, (tuple(f"<|item:{item.label}|>" for item in catalog.items),))


def code_names(codes: Ints) -> ItemNames:
    """Semantic ids: the codes of level 1 are `<|a0|>`, `<|a1|>`, ..., those of level 2 `<|b0|>`, ..."""
    sizes = codes[1:].max(axis=0) + 1
    texts = tuple(
        tuple(f"<|{chr(ord('a') + level)}{code}|>" for code in range(size))
        for level, size in enumerate(sizes.tolist())
    )
    return ItemNames(codes, texts)
