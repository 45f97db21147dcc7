"""Fixtures of the data tests."""

from __future__ import annotations

import pytest
from deeprec_data_files import make_dataset

from deeprec.data.dataset import Dataset


@pytest.fixture
def hand_dataset() -> Dataset:
    """Users with seven, four, three and two interactions."""
    return make_dataset({"a": [1, 2, 3, 4, 5, 6, 7], "b": [2, 4, 6, 8], "c": [9, 8, 7], "d": [1, 9]})
