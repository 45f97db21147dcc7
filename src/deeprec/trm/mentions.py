"""Preferences that exclude, and that name titles: `Comedy; not Musical`, `like Alien (1979); newer`.

What a preference says besides phrases of items is answered here, on top of any retriever:

- `not X`: items that bear the phrase X are lowered by `LOWERED`, so that they come after all that
  don't. Words that are no item's phrase lower by what they would have raised.
- `like TITLE`: an item gains by the cosine of its item vector, and of its text vector, with the title's.
- `newer`, `older`, beside `like`: items that are not from a later (earlier) year than the title are lowered.

A preference without any of these is handed on as it is: the retriever's own ranking, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.trm.base import ExplorableRetriever, Histories, Preferences, Retrieval, TextEncoder
from deeprec.trm.phrases import item_phrases, join_phrases, split_phrases
from deeprec.trm.ranking import MAX_PREFERENCE, check_preferences, top_items

NOT, LIKE, NEWER, OLDER = "not ", "like ", "newer", "older"
LOWERED = 10.0  # in scores, which are logits: one in twenty thousand of what it was
# What a cosine of 1 with the title adds, by item and by text vectors. Chosen on validation users of MovieLens-100K
# who said a simulated "like TITLE": NDCG@10 0.1092 in silence, 0.1606 so; 0.1607 without texts, which new items need.
ITEM_PULL, TEXT_PULL = 4.0, 1.0
_MEANT = 3  # items that one title may stand for, at most; more are no title
_ARTICLE = re.compile(r"^(.*), (the|a|an)$")


@dataclass(frozen=True, slots=True)
class Mentions:
    """A preference taken apart."""

    wanted: str | None  # the phrases that are asked as they are
    excluded: tuple[str, ...] = ()
    liked: tuple[int, ...] = ()  # item indices
    newer: bool = False
    older: bool = False

    @property
    def says_more(self) -> bool:
        """Whether it says anything but phrases."""
        return bool(self.excluded or self.liked)


class Bearers:
    """Which items bear a phrase, and which of them a preference excludes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @cached_property
    def _known(self) -> Mapping[str, NDArray[np.int64]]:
        found: dict[str, list[int]] = {}
        for item in self._catalog.items:
            for phrase in item_phrases(item):
                found.setdefault(phrase.casefold(), []).append(item.item_index)
        return {phrase: np.array(items, dtype=np.int64) for phrase, items in found.items()}

    def of(self, phrase: str) -> NDArray[np.int64]:
        """Items that bear a phrase, without regard to case; none for what is nobody's."""
        return self._known.get(phrase.casefold(), np.zeros(0, dtype=np.int64))

    def excluded(self, phrase: str) -> str:
        """What a phrase of a preference excludes; empty where it is a wanted one.

        A category may be called "Not Rated": then it is wanted.
        """
        lower = phrase.casefold()
        return phrase[len(NOT) :].strip() if lower.startswith(NOT) and lower not in self._known else ""

    def exclusions(self, preferences: Iterable[str | None]) -> list[str]:
        """The phrases of some preferences that exclude (`not Musical`), in order, without repeats."""
        phrases = [phrase for text in preferences for phrase in split_phrases(text) if self.excluded(phrase)]
        return list(dict.fromkeys(phrases))

    def left_out(self, preferences: Iterable[str | None]) -> frozenset[int]:
        """Items that bear what any of these preferences excludes."""
        unwanted = [self.of(self.excluded(phrase)).tolist() for phrase in self.exclusions(preferences)]
        return frozenset(item for items in unwanted for item in items)


def with_phrases(preference: str | None, further: Sequence[str]) -> str | None:
    """A preference that also says these phrases; as it is where it would grow too long for the TRM.

    >>> with_phrases("Comedy; not Musical", ["not Musical", "not War"]), with_phrases(None, ["not War"])
    ('Comedy; not Musical; not War', 'not War')
    """
    whole = join_phrases(list(dict.fromkeys([*split_phrases(preference), *further])))
    return whole if further and len(whole) <= MAX_PREFERENCE else preference


class Titles:
    """What people call the items: labels, with and without their year, articles in front or behind, in any case."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @cached_property
    def _known(self) -> Mapping[str, tuple[int, ...]]:
        found: dict[str, list[int]] = {}
        for item in self._catalog.items:
            for name in {*_names(item.label, item.year), *_names(item.title, item.year)}:
                found.setdefault(name, []).append(item.item_index)
        return {name: tuple(items) for name, items in found.items()}

    def find(self, title: str) -> tuple[int, ...]:
        """The items that the title may stand for; none for a title that nobody or too many have."""
        exact = self._catalog.resolve(title)
        if exact is not None:
            return (exact,)
        found = self._known.get(" ".join(title.split()).casefold(), ())
        return found if len(found) <= _MEANT else ()


def _names(title: str, year: int | None) -> tuple[str, ...]:
    """Ways to write a title.

    >>> _names("Matrix, The (1999)", 1999)
    ('matrix, the (1999)', 'matrix, the', 'the matrix')
    """
    whole = " ".join(title.split()).casefold()
    bare = whole.removesuffix(f"({year})").strip()
    match = _ARTICLE.match(bare)
    return (whole, bare, *((f"{match[2]} {match[1]}",) if match else ()))


class MentioningTRM:
    """A retriever that also answers exclusions and named titles; see the module's text."""

    def __init__(
        self,
        retriever: ExplorableRetriever,
        catalog: Catalog,
        pulls: tuple[float, float] = (ITEM_PULL, TEXT_PULL),
    ) -> None:
        """`pulls` are what a cosine of 1 with a liked title's item vector, and text vector, adds."""
        self.retriever = retriever
        self.catalog = catalog
        self.pulls = pulls
        self.titles = Titles(catalog)
        self.bearers = Bearers(catalog)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self.retriever.n_items

    @property
    def encoder(self) -> TextEncoder:
        """The retriever's."""
        return self.retriever.encoder

    def text_vectors(self) -> NDArray[np.float32]:
        """The retriever's."""
        return self.retriever.text_vectors()

    def item_vectors(self) -> NDArray[np.float32] | None:
        """The retriever's."""
        return self.retriever.item_vectors()

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Scores of all items, (B, n_items + 1); column 0 is -inf."""
        found = self._parse(check_preferences(preferences, len(histories)))
        if not any(one.says_more for one in found):
            return self.retriever.score(histories, preferences)
        scores = self.retriever.score(histories, [one.wanted for one in found]).copy()
        for row, one in enumerate(found):
            if one.says_more:
                scores[row, 1:] += self._moved(one, histories[row])[1:]
        return scores

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history; see the Retriever contract."""
        found = self._parse(check_preferences(preferences, len(histories)))
        said = [row for row, one in enumerate(found) if one.says_more]
        if not said:
            return self.retriever.retrieve(histories, preferences, k, exclude)
        rest = [row for row, one in enumerate(found) if not one.says_more]
        items = np.zeros((len(histories), k), dtype=np.int64)
        scores = np.zeros((len(histories), k), dtype=np.float32)
        for rows, has_said in ((rest, False), (said, True)):
            if not rows:
                continue
            chosen = [histories[row] for row in rows]
            asked = [preferences[row] if preferences is not None else None for row in rows]
            out = None if exclude is None else [exclude[row] for row in rows]
            if has_said:
                part = top_items(self.score(chosen, asked), k, out)
            else:
                part = self.retriever.retrieve(chosen, asked, k, out)
            items[rows], scores[rows] = part.item_indices, part.scores
        return Retrieval(items, scores)

    def parse(self, preference: str | None) -> Mentions:
        """The preference taken apart; what is neither an exclusion nor a known title is left among what is wanted."""
        wanted: list[str] = []
        excluded: list[str] = []
        liked: list[int] = []
        turns: set[str] = set()
        for phrase in split_phrases(preference):
            lower = phrase.casefold()
            if unwanted := self.bearers.excluded(phrase):
                excluded.append(unwanted)
            elif len(self.bearers.of(phrase)):  # a category may be called "Like New"
                wanted.append(phrase)
            elif lower.startswith(LIKE) and (found := self.titles.find(phrase[len(LIKE) :])):
                liked += found
            elif lower in (NEWER, OLDER):
                turns.add(lower)
            else:
                wanted.append(phrase)
        if not liked:  # than what?
            wanted += sorted(turns)
            turns = set()
        said = join_phrases(wanted) or None
        return Mentions(said, tuple(excluded), tuple(liked), NEWER in turns, OLDER in turns)

    def _parse(self, preferences: Sequence[str | None]) -> list[Mentions]:
        return [self.parse(text) for text in preferences]

    @cached_property
    def _years(self) -> NDArray[np.int64]:
        """Year of each item (n_items + 1,), 0 where it is unknown."""
        return np.array([0, *(item.year or 0 for item in self.catalog.items)])

    def _moved(self, said: Mentions, history: Sequence[int]) -> NDArray[np.float32]:
        """What is added to the scores of a user's items (n_items + 1,)."""
        moved = np.zeros(self.n_items + 1, dtype=np.float32)
        for phrase in said.excluded:
            bad = self.bearers.of(phrase)
            if len(bad):
                moved[bad] = -LOWERED
            else:
                raised = self.retriever.score([history, history], [phrase, None])
                moved[1:] -= raised[0, 1:] - raised[1, 1:]
        if said.liked:
            moved += self._pull(list(said.liked))
            moved[self._on_the_wrong_side(said)] -= LOWERED
        return moved

    def _pull(self, liked: list[int]) -> NDArray[np.float32]:
        """What the titles add (n_items + 1,): the mean over them, each kind of vector at its weight."""
        pull = np.zeros(self.n_items + 1, dtype=np.float32)
        for weight, vectors in zip(self.pulls, (self._unit_items, self.text_vectors()), strict=True):
            if vectors is not None and weight:
                pull += np.float32(weight) * (vectors @ vectors[liked].mean(axis=0))
        return pull

    @cached_property
    def _unit_items(self) -> NDArray[np.float32] | None:
        return self.item_vectors()

    def _on_the_wrong_side(self, said: Mentions) -> NDArray[np.bool_]:
        """Items (n_items + 1,) that are not newer (older) than the titles, though they should be."""
        known = [year for year in self._years[list(said.liked)] if year]
        wrong = np.zeros(self.n_items + 1, dtype=np.bool_)
        if known and said.newer:
            wrong |= (self._years > 0) & (self._years <= max(known))
        if known and said.older:
            wrong |= (self._years > 0) & (self._years >= min(known))
        return wrong
