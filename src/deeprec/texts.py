"""What counts as text: one definition for ids, titles and searches, wherever they come from."""

from __future__ import annotations

import re
import unicodedata

_UNKEPT = re.compile("[\x00\ud800-\udfff]")  # neither database keeps a NUL, nor UTF-8 half a character
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}


def is_blank(text: str) -> bool:
    """Whether nothing of a text is seen: spaces, control and format characters alone.

    >>> is_blank(" \\x1c\\u200b"), is_blank(""), is_blank("a b")
    (True, True, False)
    """
    return all(sign.isspace() or unicodedata.category(sign) in _UNSEEN for sign in text)


def fault_of(text: str, length: int) -> str | None:
    """What keeps a text from being an id of at most `length` characters, and what helps; None: nothing does.

    >>> fault_of("\\x1c", 9), fault_of("a" * 10, 9)
    ('is empty; give one', 'has 10 characters; at most 9 are kept')
    """
    if len(text) > length:
        return f"has {len(text)} characters; at most {length} are kept"
    unkept = _UNKEPT.search(text)
    if unkept is not None:
        return f"holds {unkept[0]!r}, which can't be stored; leave it out"
    return "is empty; give one" if is_blank(text) else None
