"""Finding items by what a person types, and telling one item from its id or title."""

from __future__ import annotations

import difflib
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from deeprec.data.catalog import Catalog, clean_text
from deeprec.serve.problems import Problem, wrong_field

_NEAR = 3
_CANDIDATES = 5
# Characters of a title, and labels on either side of its place in the alphabet, that a guess compares: anybody may
# make it, as often as they like, and each pair costs up to a tenth of a millisecond.
_COMPARED, _BESIDE = 60, 20


class TitleSearch:
    """Search over a catalogue's labels; case and accents don't matter."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._folded = [fold(item.label) for item in catalog.items]
        self._sorted = sorted((text, index) for index, text in enumerate(self._folded, 1))
        # And by their ends: what is misspelt at its beginning has other neighbours there.
        self._backwards = sorted((text[::-1], index) for text, index in self._sorted)
        self._named: dict[str, list[int]] = {}
        for item in catalog.items:
            for name in {clean_text(item.label).casefold(), clean_text(item.title).casefold()}:
                self._named.setdefault(name, []).append(item.item_index)

    def find(self, query: str, limit: int) -> list[int]:
        """Item indices: equal labels first, then those that begin so, then words that do, then any part.

        Ties keep the catalogue's order. An empty query finds the first items.
        """
        wanted = fold(query)
        if not wanted:
            return list(range(1, min(limit, self._catalog.n_items) + 1))
        places = [index for index, text in enumerate(self._folded, 1) if wanted in text]
        # Stable: within one kind of match the order of the catalogue stays.
        return sorted(places, key=lambda index: _kind(wanted, self._folded[index - 1]))[:limit]

    def resolve(self, field: str, item_id: str | None, title: str | None) -> int:
        """The one item meant; raises Problem, naming candidates, where that is none or several."""
        if (item_id is None) == (title is None):
            raise wrong_field(field, None, "give either item_id or title, not both and not neither")
        if item_id is not None:
            index = self._catalog.index_of(item_id)
            if index is None:
                raise wrong_field(
                    f"{field}.item_id", item_id, "no item has this id; /v1/items?query=TITLE finds ids"
                )
            return index
        found = self._called(title or "")
        if not found:
            raise wrong_field(f"{field}.title", title, f"no item is called so{self._near(title or '')}")
        if len(found) > 1:
            named = _named(self._catalog[index].label for index in found[:_CANDIDATES])
            raise wrong_field(f"{field}.title", title, f"may be any of {named}; give one of these, or an id")
        return found[0]

    def item(self, item_id: str) -> int:
        """Index of an item id; raises Problem (404) for one that the catalogue lacks."""
        index = self._catalog.index_of(item_id)
        if index is None:
            raise Problem(404, f"no item has the id '{item_id[:80]}'; /v1/items?query=TITLE finds ids")
        return index

    def _called(self, title: str) -> list[int]:
        """As `Catalog.search`, without looking at every item: histories are long."""
        exact = self._catalog.resolve(title)
        return [exact] if exact is not None else self._named.get(clean_text(title).casefold(), [])

    def _near(self, title: str) -> str:
        wanted = fold(title)[:_COMPARED]
        near = [self._catalog[index].label for index in self.find(wanted, _NEAR)] if wanted else []
        if not near:
            beside = [*_beside(self._sorted, wanted), *_beside(self._backwards, fold(title)[::-1])]
            labels = {self._folded[index - 1][:_COMPARED]: self._catalog[index].label for index in beside}
            found = difflib.get_close_matches(wanted, labels, n=_NEAR, cutoff=0.5)
            near = [labels[text] for text in found]
        return f"; did you mean {_named(near)}?" if near else "; /v1/items?query=TITLE finds titles"


def fold(text: str) -> str:
    """Text without case and accents.

    >>> fold("  Amélie (2001)")
    'amelie (2001)'
    """
    split = unicodedata.normalize("NFKD", clean_text(text))
    return "".join(sign for sign in split if not unicodedata.combining(sign)).casefold()


def _beside(ordered: Sequence[tuple[str, int]], text: str) -> list[int]:
    """Item indices around the place of `text`, backwards: of labels that are cut alike the first is kept."""
    place = bisect_left(ordered, (text, 0))
    return [index for _, index in reversed(ordered[max(0, place - _BESIDE) : place + _BESIDE])]


def _kind(wanted: str, text: str) -> int:
    if text == wanted:
        return 0
    if text.startswith(wanted):
        return 1
    return 2 if f" {wanted}" in text else 3


def _named(labels: Iterable[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels)
