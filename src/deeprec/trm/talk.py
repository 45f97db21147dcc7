"""Words around a preference: what people and language models say besides what they want.

Training hears it so that the preference branch learns that it tells nothing.
"""

from __future__ import annotations

import numpy as np

_STARTS = (
    "", "I want", "I'd like", "I need", "give me", "show me", "find me", "looking for", "in the mood for",
    "maybe", "how about", "suggest", "recommend", "can you find", "let's have", "the user likes",
    "the user may prefer", "they enjoy", "more of", "another", "probably", "what about",
)  # fmt: skip
_THINGS = (
    "", "something", "anything", "one", "a good one", "the best", "things", "whatever", "stuff", "items",
    "a great choice", "some options", "the right thing", "nice ones", "titles", "products", "what fits", "a pick",
)  # fmt: skip
_ENDS = (
    "", "please", "to enjoy", "for me", "for now", "for the evening", "that I might like", "that works",
    "to try", "next time", "you think is nice", "like before", "as usual", "of that kind", "with high quality",
    "for a change", "in general", "right now",
)  # fmt: skip
_SENTENCES = (
    "surprise me", "you decide", "I trust you", "no idea", "could you help me choose", "hello", "thank you",
    "what do you suggest", "I have no preference", "up to you", "let me see what there is", "pick for me",
    "it does not matter", "I can't decide", "just browsing", "what is there", "what else do you have", "ok, go on",
    "anything goes", "help me find my next favourite", "you know my taste", "based on my history",
    "the user has a varied taste", "the user wants to explore", "similar to previous items", "continue",
    "let us look at the list", "this should fit the user", "I will think about it step by step", "next item",
    "none", "n/a", "not specified", "unknown", "no special wish", "all of them are fine by me",
)  # fmt: skip
_LETTERS = ("bcdfghjklmnpqrstvwxz", "aeiouy")
_AROUND = (
    "{}", "some {}", "a good {}", "more {}", "classic {}", "the best {}", "{} please", "{} for me", "{} items",
    "something {}", "I want {}", "in the mood for {}", "{} that I might like", "popular {}", "{} and similar",
)  # fmt: skip


def small_talk(count: int, rng: np.random.Generator) -> list[str]:
    """`count` phrases that say nothing about any item: half put together, a quarter each sentences and no words."""
    kinds = (_put_together, _put_together, _sentence, _no_words)
    return [kinds[number % len(kinds)](rng) for number in range(count)]


def _put_together(rng: np.random.Generator) -> str:
    parts = [part[int(rng.integers(len(part)))] for part in (_STARTS, _THINGS, _ENDS)]
    return " ".join(part for part in parts if part) or "something"


def _sentence(rng: np.random.Generator) -> str:
    return _SENTENCES[int(rng.integers(len(_SENTENCES)))]


def _no_words(rng: np.random.Generator) -> str:
    """One to three made-up words."""
    words = []
    for _ in range(int(rng.integers(1, 4))):
        length = int(rng.integers(3, 9))
        kinds = rng.random(length) < 0.35  # vowels
        words.append("".join(str(rng.choice(list(_LETTERS[int(vowel)]))) for vowel in kinds))
    return " ".join(words)


def wrap(phrase: str, rng: np.random.Generator) -> str:
    """The phrase with words around it.

    >>> wrap("Comedy", np.random.default_rng(0))
    'Comedy that I might like'
    """
    return _AROUND[int(rng.integers(1, len(_AROUND)))].format(phrase)
