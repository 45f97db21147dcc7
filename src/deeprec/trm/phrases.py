"""Phrases that describe an item: what preferences are made of."""

from __future__ import annotations

import re
from collections import Counter

from deeprec.data.catalog import Catalog, clean_text
from deeprec.types import Item

LONGEST_SPOKEN = 40  # characters: shops put sentences among their categories
MOST_SPOKEN = 2000  # phrases of one catalogue
SEPARATOR = "; "  # between the phrases of one preference, as in the published prompts
_WORD = re.compile(r"\w+")


def item_phrases(item: Item) -> list[str]:
    """Categories as they are, then decade and year; no title words, no duplicates.

    A separator inside a category becomes a comma, so that phrases can be joined and split.

    >>> item_phrases(Item(1, "a", "Alien", "Alien (1979)", ("Sci-Fi", "Horror"), 1979))
    ['Sci-Fi', 'Horror', '1970s', '1979']
    """
    phrases = [clean_text(category).replace(";", ",") for category in item.categories]
    if item.year is not None:
        phrases += [f"{item.year // 10 * 10}s", str(item.year)]
    return list(dict.fromkeys(phrase for phrase in phrases if phrase))


def spoken_phrases(catalog: Catalog) -> dict[str, int]:
    """What a policy is taught to say of a catalogue: its commonest phrases, and how many items each describes.

    Not exact years, which are too narrow a preference, nor sentences. Commonest first, ties by the alphabet.
    """
    counts = Counter(
        phrase
        for item in catalog.items
        for phrase in item_phrases(item)
        if not phrase.isdigit() and len(phrase) <= LONGEST_SPOKEN
    )
    common = sorted(counts, key=lambda phrase: (-counts[phrase], phrase))[:MOST_SPOKEN]
    return {phrase: counts[phrase] for phrase in common}


def title_phrases(item: Item, most: int = 3) -> list[str]:
    """Pieces of the title, one to three words each, at most `most`, from its beginning.

    >>> title_phrases(Item(1, "a", "The Good, the Bad and the Ugly", "", (), 1966))
    ['The Good the', 'Bad and the', 'Ugly']
    """
    words = _WORD.findall(clean_text(item.title))
    return [" ".join(words[start : start + 3]) for start in range(0, len(words), 3)][:most]


def join_phrases(phrases: list[str]) -> str:
    """One preference out of several phrases.

    >>> join_phrases(["Action", "1990s"])
    'Action; 1990s'
    """
    return SEPARATOR.join(phrases)


def split_phrases(preference: str | None) -> list[str]:
    """The phrases of a preference, in order, without repeats; empty for none.

    >>> split_phrases(" Action;1990s;; Action ")
    ['Action', '1990s']
    """
    parts = (preference or "").split(SEPARATOR.strip())
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))
