"""A parser by rule: the preference that a wish means, as far as the catalogue's own words tell.

It looks for the catalogue's phrases word by word (in the plural too), for decades however they are said, for
words of negation in front of a phrase, and for titles behind "like". It knows no synonym and no misspelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from deeprec.data.catalog import Catalog
from deeprec.trm.mentions import LIKE, NEWER, NOT, OLDER, Bearers, Titles, with_phrases
from deeprec.trm.phrases import join_phrases, spoken_phrases
from deeprec.types import Example
from deeprec.wishes.text import clean_wish
from deeprec.wishes.words import TENS

_DECADE = re.compile(r"\b(?:(\d{3})0|'?(\d)0)'?s\b")
_NEGATION = re.compile(r"\b(?:no|not|without|never|except|but)\s+(?:a |an |any |the )?$")
_LIKE = re.compile(r"\b(?:like|liked|loved|enjoyed|similar to|close to|style of|good as|newer|older) ")
_TURNS = {NEWER: re.compile(r"\b(?:newer|more recent|later)\b"), OLDER: re.compile(r"\bolder\b")}
_LONGEST_TITLE = 15  # words behind "like" that are tried as a title
_WORD = re.compile(r"\S+")


class WishRule:
    """Parses wishes about one catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._titles, self._bearers = catalog, Titles(catalog), Bearers(catalog)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(spoken_phrases(self._catalog))

    @cached_property
    def _phrases(self) -> list[tuple[str, re.Pattern[str]]]:
        """What is looked for, each with its pattern; made when somebody first says something."""
        return [
            (phrase, re.compile(rf"(?<![\w-]){re.escape(phrase.casefold())}(?:s|es)?(?![\w-])"))
            for phrase in spoken_phrases(self._catalog)
            if not _DECADE.fullmatch(phrase)
        ]

    def ask(self, example: Example, asked: Iterable[str] = ()) -> str | None:
        """The preference that the user's wish means, without what the preferences `asked` before exclude, too.

        None for who says nothing and has excluded nothing.
        """
        meant = self.parse(example.wish) if example.wish else None
        return with_phrases(meant, self._bearers.exclusions(asked))

    def parse(self, wish: str) -> str | None:
        """The preference; None where nothing of the catalogue is found in the words."""
        text = clean_wish(wish)
        title, rest = self._title(text)
        lower = rest.casefold()
        found = [f"{LIKE}{title}"] if title else []
        found += [turn for turn, words in _TURNS.items() if title and words.search(lower)]
        for phrase, pattern in self._phrases:
            match = pattern.search(lower)
            if match:
                found.append(f"{NOT}{phrase}" if _NEGATION.search(lower[: match.start()]) else phrase)
        found += [decade for decade in self._decades(lower) if decade in self._known]
        return join_phrases(found) or None

    def _title(self, text: str) -> tuple[str, str]:
        """A title of the catalogue behind a word of likeness, the longest; and the text without it."""
        for match in _LIKE.finditer(text.casefold()):
            start = match.end()
            ends = [word.end() for word in _WORD.finditer(text[start:])][:_LONGEST_TITLE]
            for end in reversed(ends):
                title = text[start : start + end].rstrip("?!.,;:")
                if self._titles.find(title):
                    return title, f"{text[:start]} {text[start + end :]}"
        return "", text

    def _decades(self, text: str) -> list[str]:
        found = [f"{match[1]}0s" if match[1] else f"19{match[2]}0s" for match in _DECADE.finditer(text)]
        found += [f"{decade}s" for decade, name in self._named if name.search(text)]
        return list(dict.fromkeys(found))

    @cached_property
    def _named(self) -> list[tuple[int, re.Pattern[str]]]:
        return [(decade, re.compile(rf"\b{name}\b")) for decade, name in TENS.items()]
