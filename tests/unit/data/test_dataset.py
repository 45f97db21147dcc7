"""Examples, hashes and lookups of the data set in memory."""

from __future__ import annotations

import time

import polars as pl
import pytest
from deeprec_data_files import make_dataset

from deeprec.data.dataset import Dataset
from deeprec.errors import DataError


def test_examples_in_order_of_user_and_time(hand_dataset: Dataset) -> None:
    found = [(e.user_id, e.history, e.target, e.timestamp) for e in hand_dataset.examples("rl")]
    assert found == [("a", (1, 2, 3), 4, 4.0), ("a", (1, 2, 3, 4), 5, 5.0)]
    assert [(e.user_id, e.target) for e in hand_dataset.examples("test")] == [("a", 7), ("b", 8), ("c", 7)]
    assert [e.history for e in hand_dataset.fit_histories()] == [(1, 2, 3), (2, 4), (9,), (1, 9)]
    assert all(e.target == 0 and e.timestamp is None for e in hand_dataset.fit_histories())


def test_known_history_and_profile(hand_dataset: Dataset) -> None:
    everything = hand_dataset.known_history("a")
    assert everything.history == (1, 2, 3, 4, 5, 6, 7)
    assert everything.profile == {"age": "30"}
    assert everything.ratings == ()  # the source has none
    assert hand_dataset.exclusions(everything) == everything.history
    with pytest.raises(DataError, match="unknown user 'nobody' in data set 'hand'"):
        hand_dataset.known_history("nobody")


def test_targets_hash_follows_targets_only() -> None:
    base = make_dataset({"a": [1, 2, 3, 4], "b": [5, 6, 7]})
    other_past = make_dataset({"a": [2, 1, 3, 4], "b": [5, 6, 7]})
    other_target = make_dataset({"a": [1, 2, 3, 5], "b": [5, 6, 7]})
    assert base.targets_hash("test") == other_past.targets_hash("test")
    assert base.targets_hash("test") != other_target.targets_hash("test")
    assert base.targets_hash("validation") == other_target.targets_hash("validation")
    assert base.fingerprint != other_past.fingerprint


def test_many_examples_are_fast() -> None:
    users, each = 3000, 60
    histories = {f"u{user}": list(range(1, each + 1)) for user in range(users)}
    dataset = make_dataset(histories, n_items=each)
    started = time.perf_counter()
    count = sum(len(dataset.examples(part)) for part in ("rl", "validation", "test"))
    assert count == 4 * users
    assert time.perf_counter() - started < 3
    assert dataset.interactions.schema["item_index"] == pl.Int32
