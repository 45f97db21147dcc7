from __future__ import annotations

import pytest

from deeprec.rewards.outcome import (
    hit_reward,
    items_by_line,
    list_format_reward,
    rank_reward,
    similarity_reward,
)


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (("Alien", "Brazil", "Casino"), 0.0),
        (("Alien", "Brazil", "No such film"), 0.0),  # costs similarity, not the form
        (("Alien", "Brazil"), -1.0),
        (("Alien", "Brazil", "Casino", "Dune"), -1.0),
        ((), -1.0),
        (("Alien", "Brazil </think>", "Casino"), -1.0),
    ],
)
def test_list_format(make, lines, value):
    assert list_format_reward(make(lines), 3) == value


def test_lines_keep_their_place(make, catalog):
    trajectory = make(("Alien", "Aliens", "Alien", "Casino"))
    assert items_by_line(trajectory, catalog) == (1, 0, 0, 3)


def test_hit_and_rank_by_hand():
    items = (4, 0, 2, 6)
    assert hit_reward(items, 2) == 1.0
    assert hit_reward(items, 3) == 0.0
    assert rank_reward(items, 4, 10) == pytest.approx(2.0)
    assert rank_reward(items, 2, 10) == pytest.approx(1.6)  # line 2, counted from 0
    assert rank_reward(items, 3, 10) == 0.0


def test_similarity_by_hand(space):
    # Target 1. s = mean(text, item): item 1: (1+1)/2, item 2: (1+cos 30)/2, item 4: (0+cos 90)/2.
    text, items = space.text_vectors, space.item_vectors
    assert similarity_reward((1,), 1, text, items) == pytest.approx(10.0)
    s2 = (1 + 3**0.5 / 2) / 2
    # n = 2: weights 1 and 1/4.
    assert similarity_reward((1, 2), 1, text, items) == pytest.approx(10 * (1 + s2 / 4) / 1.25)
    assert similarity_reward((2, 4), 1, text, items) == pytest.approx(10 * s2 / 1.25)
    # n = 3: weights 1, 4/9, 1/9; the unresolved line counts in n and is similar to nothing.
    assert similarity_reward((0, 1, 2), 1, text, items) == pytest.approx(10 * (4 / 9 + s2 / 9) / (14 / 9))
    assert similarity_reward((), 1, text, items) == 0.0


def test_similarity_without_item_vectors_uses_text_alone(space):
    assert similarity_reward((2, 4), 1, space.text_vectors, None) == pytest.approx(10 * 1 / 1.25)


def test_repeating_a_good_title_does_not_pay(space, make, catalog):
    once = items_by_line(make(("Alien", "Brazil", "Casino")), catalog)
    thrice = items_by_line(make(("Alien", "Alien", "Alien")), catalog)
    vectors = space.text_vectors, space.item_vectors
    assert similarity_reward(thrice, 1, *vectors) == pytest.approx(10 / (14 / 9))
    assert similarity_reward(thrice, 1, *vectors) < similarity_reward(once, 1, *vectors)
