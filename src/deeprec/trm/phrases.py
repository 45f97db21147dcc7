"""Phrases that describe an item: what preferences are made of."""

from __future__ import annotations

from deeprec.data.catalog import clean_text
from deeprec.types import Item

SEPARATOR = "; "  # between the phrases of one preference, as in the published prompts


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


def join_phrases(phrases: list[str]) -> str:
    """One preference out of several phrases.

    >>> join_phrases(["Action", "1990s"])
    'Action; 1990s'
    """
    return SEPARATOR.join(phrases)
