"""Text as a reader sees it: what shows nothing is taken out, for a language model reads it all the same.

Joiners stay where writing needs them, between letters of Indic and Arabic scripts and within one emoji:
no order can be spelt in signs that need a visible neighbour on either side.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

_JOINERS = "\u200c\u200d"  # zero width: non-joiner and joiner
# All of Unicode's Default_Ignorable_Code_Point but the joiners (tags that spell whole orders, variation
# selectors, marks that turn the direction of writing), annotations, noncharacters, and halves of surrogate pairs.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINED = re.compile(f"([^{_JOINERS}]?)([{_JOINERS}]+)(?=(.?))", re.DOTALL)
_VIRAMA = 9  # Unicode's class of the signs that take a vowel away
_SKIN = range(0x1F3FB, 0x1F400)
MOST_MARKS = 8  # on one letter; Tibetan and pointed Hebrew need five


def visible(text: str) -> str:
    """The text without what no reader sees, and without marks beyond what any script puts on a letter.

    >>> visible("Ali\\u00aden\\U000e0072\\u200d"), len(visible("\\U0001f469\\u200d\\U0001f680"))
    ('Alien', 3)
    """
    if text.isascii():
        return text
    shown = _HIDDEN.sub("", text)
    if any(joiner in shown for joiner in _JOINERS):
        shown = _JOINED.sub(lambda found: found[1] + _joiner(found[1], found[2], found[3]), shown)
    return _few_marks(shown)


def holds_hidden(text: str) -> bool:
    """Whether a text holds what no reader sees, or a heap of marks.

    >>> holds_hidden("Alien"), holds_hidden("Alien\\U000e0072")
    (False, True)
    """
    return visible(text) != text


def _joiner(before: str, joiners: str, after: str) -> str:
    """What stays of some joiners between two signs; a non-joiner that writing doesn't need parts words."""
    if not before or not after:
        return ""
    if unicodedata.combining(before) == _VIRAMA and _is_letter(after):
        return joiners[0]
    if "\u200d" in joiners and _is_pictured(before) and _is_pictured(after):
        return "\u200d"
    if "\u200c" not in joiners:
        return ""
    return "\u200c" if _is_arabic(before) and _is_arabic(after) else " "


def _is_letter(sign: str) -> bool:
    return unicodedata.category(sign).startswith("L")


def _is_arabic(sign: str) -> bool:
    return unicodedata.bidirectional(sign) in ("AL", "NSM")


def _is_pictured(sign: str) -> bool:
    return unicodedata.category(sign) == "So" or ord(sign) in _SKIN


def _few_marks(text: str) -> str:
    runs = ((is_mark, list(run)) for is_mark, run in groupby(text, key=_is_mark))
    return "".join(sign for is_mark, run in runs for sign in (run[:MOST_MARKS] if is_mark else run))


def _is_mark(sign: str) -> bool:
    return unicodedata.category(sign) in ("Mn", "Me")
