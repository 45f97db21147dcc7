"""Simulated wishes: what somebody who wants the next item, or another one, might say.

They are made of the metadata of that item and of titles that go with it, never of its own title. So
they measure another protocol than usual: whoever reads one knows something true of the target. Their
figures are called "simulated wish" wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import numpy as np

from deeprec.config import WishesConfig
from deeprec.data.dataset import Dataset
from deeprec.trm.mentions import LIKE, NEWER, NOT
from deeprec.trm.phrases import item_phrases, join_phrases, spoken_phrases
from deeprec.types import Example, Item
from deeprec.wishes.forms import KINDS, TALK, Sentences, sentences
from deeprec.wishes.together import Together
from deeprec.wishes.words import decade_names, loosen, misspell, title_words, vague_words, words

PROTOCOL = "simulated wish"  # what tables and rows call it
TALK_SHARE = 0.3  # of the wishes, those with words around them
LOOSE_SHARE = 0.7  # of those in sentences of training, those with words put in and left out
_RECENT = 10  # latest items of a history that "like TITLE" may name
_TRIES = 8  # sentences that are tried before a wish is given up whose words stand in the target's title
_DECADE = re.compile(r"\d{4}s")


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody says, what they mean as a preference, and the item that it is true of (0: of no particular one)."""

    text: str
    kind: str
    meant: str
    about: int
    excluded: str = ""  # the category that they don't want


class Wisher:
    """Makes wishes about the items of one data set. Titles that go together are counted in its fit part alone."""

    def __init__(self, dataset: Dataset) -> None:
        self.catalog = dataset.catalog
        self._dataset, self._together = dataset, Together(dataset)
        spoken = [phrase for phrase in spoken_phrases(dataset.catalog) if not _DECADE.fullmatch(phrase)]
        self._spoken = frozenset(spoken)
        self._categories = {
            item.item_index: tuple(phrase for phrase in item_phrases(item) if phrase in self._spoken)
            for item in dataset.catalog.items
        }

    def wish(
        self,
        example: Example,
        rng: np.random.Generator,
        kind: str | None = None,
        *,
        which: Sentences = "training",
        misleading: bool = False,
    ) -> Wish | None:
        """What the user of `example` might say before they take its target; None where nothing of that kind can be.

        Without a `kind` one is drawn among those that can be. A misleading wish is true of another item, one
        that shares no category with the target.
        """
        about = self._other(example, rng) if misleading else example.target
        if not about:
            return None
        kinds = [kind] if kind else [KINDS[place] for place in rng.permutation(len(KINDS))]
        for one in kinds:
            found = self._say(one, about, example, rng, which=which)
            if found is not None:
                return found
        return None

    def wish_about(
        self, item_index: int, rng: np.random.Generator, kind: str, *, loose: bool = True
    ) -> Wish | None:
        """A wish about an item of the catalogue, by nobody in particular: to learn the words from.

        Sentences that are not `loose` are as they stand in the table.
        """
        example = Example("", (), item_index)
        return self._say(kind, item_index, example, rng, which="training", guard=False, loose=loose)

    def _say(
        self,
        kind: str,
        about: int,
        example: Example,
        rng: np.random.Generator,
        *,
        which: Sentences,
        guard: bool = True,
        loose: bool = True,
    ) -> Wish | None:
        taken = title_words(self.catalog[example.target]) if guard and example.target else frozenset()
        for _ in range(_TRIES):
            slots = _SLOTS[kind](self, about, example, rng, which == "new-words")
            if slots is None:
                return None
            known = sentences(kind, which)
            sentence = known[int(rng.integers(len(known)))]
            if loose and which == "training" and rng.random() < LOOSE_SHARE:
                sentence = loosen(sentence, rng)
            text = sentence.format(**slots.said)
            if rng.random() < TALK_SHARE:
                talk = sentences(TALK, which)
                text = talk[int(rng.integers(len(talk)))].format(text)
            if not taken & words(text):
                return Wish(text, kind, join_phrases(list(slots.meant)), about, slots.excluded)
        return None

    def _other(self, example: Example, rng: np.random.Generator) -> int:
        """An item that shares no category with the target; 0 if none is found."""
        own = set(self._categories[example.target])
        for _ in range(50):
            item = int(rng.integers(1, self.catalog.n_items + 1))
            if self._categories[item] and own.isdisjoint(self._categories[item]):
                return item
        return 0

    def _category(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        (found,) = self._draw(about, 1, rng) or ("",)
        return _Slots({"a": _lower(found)}, (found,)) if found else None

    def _vague(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        known = [one for one in self._categories[about] if vague_words(one, new=new)]
        if not known:
            return None
        found = known[int(rng.integers(len(known)))]
        said = vague_words(found, new=new)
        return _Slots({"a": said[int(rng.integers(len(said)))]}, (found,))

    def _misspelt(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        (found,) = self._draw(about, 1, rng) or ("",)
        return (
            _Slots({"a": misspell(_lower(found), rng, 2 if new else 1)}, (found,)) if len(found) > 3 else None
        )

    def _decade(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        year = self.catalog[about].year
        if year is None:
            return None
        names = decade_names(year // 10 * 10, new=new)
        return _Slots({"d": names[int(rng.integers(len(names)))]}, (f"{year // 10 * 10}s",))

    def _both(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        one, other = self._category(about, example, rng, new), self._decade(about, example, rng, new)
        if one is None or other is None:
            return None
        return _Slots({**one.said, **other.said}, (*one.meant, *other.meant))

    def _two(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        found = self._draw(about, 2, rng)
        return _Slots({"a": _lower(found[0]), "b": _lower(found[1])}, found) if len(found) == 2 else None

    def _exclusion(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        (found,) = self._draw(about, 1, rng) or ("",)
        bad = self._beside(found, about, rng) if found else ""
        if not bad:
            return None
        return _Slots({"a": _lower(found), "n": _lower(bad)}, (found, f"{NOT}{bad}"), bad)

    def _like(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        title = self._near(about, example, rng, lambda item: True)
        return _Slots({"t": title}, (f"{LIKE}{title}",)) if title else None

    def _newer(self, about: int, example: Example, rng: np.random.Generator, new: bool) -> _Slots | None:
        year = self.catalog[about].year or 0
        title = self._near(about, example, rng, lambda item: 0 < (item.year or 0) < year)
        return _Slots({"t": title}, (f"{LIKE}{title}", NEWER)) if title else None

    def _draw(self, about: int, count: int, rng: np.random.Generator) -> tuple[str, ...]:
        """Up to `count` different categories of an item."""
        known = self._categories[about]
        return tuple(known[place] for place in rng.permutation(len(known))[:count])

    def _beside(self, found: str, about: int, rng: np.random.Generator) -> str:
        """A category that stands beside `found` on other items, but not on this one; empty without any."""
        own = set(self._categories[about])
        known = [phrase for phrase in self._company.get(found, ()) if phrase not in own]
        return known[int(rng.integers(len(known)))] if known else ""

    @cached_property
    def _company(self) -> Mapping[str, list[str]]:
        """For each category those that stand beside it, as often as they do."""
        found: dict[str, list[str]] = {}
        for _, known in sorted(self._categories.items()):
            for phrase in known:
                found.setdefault(phrase, []).extend(other for other in known if other != phrase)
        return found

    def _near(
        self, about: int, example: Example, rng: np.random.Generator, suits: Callable[[Item], bool]
    ) -> str:
        """A title of the history that shares a category with the item, or one that goes with it; empty without any."""
        own, later = set(self._categories[about]), self._later(example)
        recent = [item for item in example.history[-_RECENT:] if not own.isdisjoint(self._categories[item])]
        going = self._together.of(about)
        forbidden = title_words(self.catalog[example.target]) if example.target else frozenset()
        lists = [
            [
                item
                for item in items
                if item != about
                and item not in later
                and suits(self.catalog[item])
                and not forbidden & words(self.catalog[item].label)
            ]
            for items in (recent, going)
        ]
        known = [items for items in lists if items]
        if not known:
            return ""
        items = known[int(rng.integers(len(known)))]
        return self.catalog[items[int(rng.integers(len(items)))]].label

    def _later(self, example: Example) -> frozenset[int]:
        """Items that the user is yet to have, the target among them: a wish that names one would tell what comes."""
        known = frozenset(example.history)
        if example.user_id not in self._people:
            return frozenset({example.target})
        return frozenset(self._dataset.known_history(example.user_id).history) - known | {example.target}

    @cached_property
    def _people(self) -> frozenset[str]:
        return frozenset(self._dataset.user_ids)


@dataclass(frozen=True, slots=True)
class _Slots:
    """What fills a sentence, and the phrases that mean it."""

    said: Mapping[str, str]
    meant: tuple[str, ...]
    excluded: str = ""


_SLOTS: Mapping[str, Callable[[Wisher, int, Example, np.random.Generator, bool], _Slots | None]] = {
    "category": Wisher._category,
    "vague": Wisher._vague,
    "misspelt": Wisher._misspelt,
    "decade": Wisher._decade,
    "both": Wisher._both,
    "two": Wisher._two,
    "like": Wisher._like,
    "exclusion": Wisher._exclusion,
    "newer": Wisher._newer,
}


def with_wishes(
    examples: Sequence[Example], dataset: Dataset, wishes: WishesConfig, seed: int
) -> Sequence[Example]:
    """The same examples, a share of which carry a wish in a sentence of training, misleading ones among them.

    Who says what depends on the seed, the user and the target alone. With a share of 0 the very examples come back.
    """
    if not wishes.share:
        return examples
    wisher, found = Wisher(dataset), []
    for example in examples:
        rng = rng_for(seed, example)
        wish = None
        if rng.random() < wishes.share:
            wish = wisher.wish(example, rng, misleading=bool(rng.random() < wishes.misleading))
        found.append(example if wish is None else replace(example, wish=wish.text))
    return found


def rng_for(seed: int, example: Example, kind: str = "") -> np.random.Generator:
    """Random numbers of one user and target (and a kind of wish), whoever else there is."""
    digest = sha256(f"{seed}\x1f{example.user_id}\x1f{example.target}\x1f{kind}".encode()).digest()
    return np.random.default_rng(list(digest[:16]))


def _lower(category: str) -> str:
    return category.lower()
