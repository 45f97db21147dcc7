from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deeprec.trm.windows import cut_batches, cut_windows, leave_out, pad_right


def test_windows_cover_every_history_in_order() -> None:
    histories = [tuple(range(1, 24)), (5, 6), (7,)]
    rng = np.random.default_rng(0)
    for _ in range(5):
        windows = cut_windows(histories, 5, rng)
        assert max(map(len, windows)) <= 5
        assert [item for window in windows for item in window] == [*range(1, 24), 5, 6, 7]


def test_windows_are_cut_at_other_places_each_time() -> None:
    rng = np.random.default_rng(0)
    cuts = {len(cut_windows([tuple(range(1, 24))], 5, rng)[0]) for _ in range(30)}
    assert cuts == {1, 2, 3, 4, 5}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(20, 90))
def test_batches_hold_every_window_once_within_the_limit(lengths: list[int], tokens: int) -> None:
    windows = [tuple([number + 1] * length) for number, length in enumerate(lengths)]
    batches = list(cut_batches(windows, tokens, np.random.default_rng(0)))
    assert sorted(window for batch in batches for window in batch) == sorted(windows)
    for batch in batches:
        assert batch
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= tokens


def test_batches_pad_little() -> None:
    rng = np.random.default_rng(0)
    windows = [(1,) * int(length) for length in rng.integers(1, 51, 4000)]
    places = sum(len(b) * max(map(len, b)) for b in cut_batches(windows, 1000, rng))
    assert sum(map(len, windows)) > 0.9 * places


def test_padding_is_behind() -> None:
    assert pad_right([(1, 2, 3), (4,), ()]).tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]


def test_items_are_left_out_at_random_in_order_and_never_all_but_one() -> None:
    rng = np.random.default_rng(0)
    windows = [tuple(range(1, 41)), (5, 6), (7,)] * 200
    kept = leave_out(windows, 0.15, rng)
    assert all(len(window) >= 2 for window in kept)
    long = [window for window in kept if len(window) > 2]
    assert all(list(window) == sorted(set(window)) for window in long)
    assert 0.12 < 1 - np.mean([len(window) for window in long]) / 40 < 0.18
    assert max(map(len, long)) > 38  # each window draws its own share
    assert min(map(len, long)) < 30
    assert leave_out([(1, 2, 3)], 0.0, rng)[0].tolist() == [1, 2, 3]
