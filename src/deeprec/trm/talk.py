"""Words around a wish: what people and language models say besides what they want.

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
_AROUND = (
    "{}", "some {}", "a good {}", "more {}", "classic {}", "the best {}", "{} please", "{} for me", "{} items",
    "something {}", "I want {}", "in the mood for {}", "{} that I might like", "popular {}", "{} and similar",
)  # fmt: skip


def small_talk(count: int, rng: np.random.Generator) -> list[str]:
    """`count` phrases that say nothing about any item, none empty."""
    found = []
    while len(found) < count:
        parts = [part[int(rng.integers(len(part)))] for part in (_STARTS, _THINGS, _ENDS)]
        text = " ".join(part for part in parts if part)
        if text:
            found.append(text)
    return found


def wrap(phrase: str, rng: np.random.Generator) -> str:
    """The phrase with words around it.

    >>> wrap("Comedy", np.random.default_rng(0))
    'Comedy that I might like'
    """
    return _AROUND[int(rng.integers(1, len(_AROUND)))].format(phrase)
