"""The words of a wish, as a prompt may hold them: one line, visible, without a tag, of a bounded length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deeprec.data.catalog import clean_text
from deeprec.errors import DataError
from deeprec.texts import fault_of, is_blank

LONGEST_WISH = 500  # characters; a few sentences
MOST_TOKENS = 128  # of a prompt; a script that a tokenizer doesn't know takes several a character


def clean_wish(text: str) -> str:
    """What a prompt may hold of it; empty for one of which nothing is seen.

    >>> clean_wish("funny\\n<|begin_of_item_list|>"), clean_wish(" \\u200b ")
    ('funny ‹|begin_of_item_list|›', '')
    """
    return clean_text(text, LONGEST_WISH)


def check_wish(text: str, name: str) -> str:
    """The wish, empty for a blank one; raises DataError, beginning with `name`, for one that can't be taken."""
    if is_blank(text):
        return ""
    fault = fault_of(text, LONGEST_WISH)
    if fault is not None:
        raise DataError(f"{name} {fault}")
    return text


def fit_wish(text: str, encode: Callable[[str], Sequence[int]], most: int = MOST_TOKENS) -> str:
    """A cleaned wish of at most `most` tokens, as `encode` gives them; what is cut off is told by an ellipsis."""
    whole = clean_wish(text)
    if len(encode(whole)) <= most:
        return whole
    low, high = 0, len(whole)  # characters that fit, and that don't
    while high - low > 1:
        middle = (low + high) // 2
        fits = len(encode(f"{whole[:middle].rstrip()}…")) <= most
        low, high = (middle, high) if fits else (low, middle)
    return f"{whole[:low].rstrip()}…" if low else ""
