"""The words of a wish: what is kept of them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_world import build_catalog, build_codec, letters, settings

from deeprec.errors import DataError
from deeprec.rollout.episode import Episode
from deeprec.types import Example
from deeprec.wishes.text import LONGEST_WISH, MOST_TOKENS, check_wish, clean_wish, fit_wish


@given(st.text(max_size=2 * LONGEST_WISH))
def test_a_prompt_holds_one_bounded_line(text: str) -> None:
    wish = fit_wish(text, letters().encode)
    assert len(wish) <= LONGEST_WISH
    assert len(letters().encode(wish)) <= MOST_TOKENS
    assert wish == clean_wish(wish)
    assert not set(wish) & set("<>\n\r")


def test_what_fits_is_left_alone_and_what_does_not_ends_in_an_ellipsis() -> None:
    assert fit_wish("a funny one", letters().encode, 11) == "a funny one"
    assert fit_wish("a funny one", letters().encode, 10) == "a funny…"  # the sign is three bytes
    assert fit_wish("a funny one", letters().encode, 1) == ""


def test_an_episode_reads_a_capped_wish() -> None:
    example, catalog, codec = Example("u", (1, 2)), build_catalog(), build_codec()
    silent = len(Episode(0, example, catalog, codec, settings(), 2048).request().context)
    long = replace(example, wish="ж" * LONGEST_WISH)  # bytes, for this tokenizer
    asked = len(Episode(0, long, catalog, codec, settings(), 2048).request().context)
    assert MOST_TOKENS // 2 < asked - silent <= MOST_TOKENS + len(codec.encode("Wish: \n"))


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b"])
def test_blank_is_none(text: str) -> None:
    assert check_wish(text, "--wish") == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [("w" * 10_000, "--wish has 10000 characters; at most 500 are kept"), ("a\0", "--wish holds '")],
)
def test_what_can_not_be_taken_is_told(text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        check_wish(text, "--wish")
