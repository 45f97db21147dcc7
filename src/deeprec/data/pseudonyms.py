"""Made-up titles in the place of real ones: contamination control.

A pretrained language model may know the data set's titles, and who liked what, from its
training. With pseudonyms it can use only what the run shows it: categories, years, and the
histories themselves. What a result loses by them came from the titles.
"""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256

from deeprec.data.catalog import Catalog, build_labels
from deeprec.data.dataset import Dataset

_FIRST = ("b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "tr", "v", "z")
_MIDDLE = ("a", "e", "i", "o", "u", "ai", "ea", "io", "ou")
_LAST = ("", "", "l", "n", "r", "s", "m", "th", "x")
_YEAR = re.compile(r"\(\d{4}\)\s*$")


def pseudonymise(dataset: Dataset) -> Dataset:
    """The same data set under made-up titles; ids, indices, years, categories and split stay.

    A pseudonym is a function of the item's id (two made-up words; a third where two items
    would share them), so it is the same in every run. A title that ends with its year keeps it.
    """
    taken: set[str] = {item.title.casefold() for item in dataset.catalog.items}
    titles = []
    for item in dataset.catalog.items:
        title = _unused(item.item_id, taken)
        taken.add(title.casefold())
        titles.append(f"{title} ({item.year})" if item.year and _YEAR.search(item.title) else title)
    items = dataset.catalog.items
    labels = build_labels(titles, [item.item_id for item in items], [item.year for item in items])
    renamed = tuple(
        replace(item, title=title, label=label)
        for item, title, label in zip(items, titles, labels, strict=True)
    )
    return replace(dataset, catalog=Catalog(renamed), protocol=replace(dataset.protocol, pseudonyms=True))


def _unused(item_id: str, taken: set[str]) -> str:
    words = 2
    while True:
        title = " ".join(_word(f"{item_id}\x1f{number}") for number in range(words))
        if title.casefold() not in taken:
            return title
        words += 1


def _word(seed: str) -> str:
    """A pronounceable word of two or three syllables.

    >>> _word("1")
    'Ceazoul'
    """
    digest = sha256(f"pseudonym\x1f{seed}".encode()).digest()
    syllables = []
    for number in range(2 + digest[0] % 2):
        first, middle, last = digest[1 + 3 * number : 4 + 3 * number]
        syllables.append(
            _FIRST[first % len(_FIRST)] + _MIDDLE[middle % len(_MIDDLE)] + _LAST[last % len(_LAST)]
        )
    return "".join(syllables).capitalize()
