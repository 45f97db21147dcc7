"""What is guessed, and how much of it is worth feeding."""

from __future__ import annotations

import pytest

from deeprec.rollout.engines import drafts as module
from deeprec.rollout.engines.drafts import Drafts, worthwhile

NONE: frozenset[int] = frozenset()


def heard(text: str, times: int = 3) -> Drafts:
    drafts = Drafts()
    for _ in range(times):
        for first, second, third in zip(text, text[1:], text[2:], strict=False):
            drafts.note((ord(first), ord(second)), ord(third))
    return drafts


def said(drafts: Drafts, pair: str, most: int = 9, stops: str = "") -> str:
    found = drafts.propose((ord(pair[0]), ord(pair[1])), most, frozenset(map(ord, stops)))
    return "".join(map(chr, found))


def test_what_came_three_times_is_expected_again() -> None:
    assert said(heard("abcdef", times=2), "ab") == ""
    assert said(heard("abcdef"), "ab") == "cdef"
    assert said(heard("abcdef"), "ab", most=2) == "cd"
    assert said(heard("abcdef"), "ab", stops="d") == "cd"
    assert said(heard("abcdef"), "xb") == ""


def test_one_surprise_makes_it_unsure() -> None:
    drafts = heard("abcd", times=9)
    drafts.note((ord("b"), ord("c")), ord("x"))
    assert said(drafts, "ab") == "c"
    for _ in range(2):
        drafts.note((ord("b"), ord("c")), ord("x"))
    assert said(drafts, "ab") == "cx"


def test_a_loop_is_guessed_up_to_the_limit() -> None:
    assert said(heard("abababab"), "ab", most=5) == "ababa"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    drafts = Drafts()
    for token in range(95):
        drafts.note((token, token), token)
    assert len(drafts._next) <= 10


def test_guesses_are_fed_where_enough_rows_gain() -> None:
    assert worthwhile([]) == 0
    assert worthwhile([0, 0]) == 0
    assert worthwhile([7]) == 7  # a row alone: a pass costs far more than its tokens
    assert worthwhile([4] * 128) == 4
    assert worthwhile([1] * 100 + [7] * 28) == 1
    assert worthwhile([7] + [0] * 127) == 0
