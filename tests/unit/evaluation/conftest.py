"""Fixtures made of the hand-made parts beside this file."""

from __future__ import annotations

import pytest
from hand_made import ByIndex, Letters, build_dataset

from deeprec.data.dataset import Dataset


@pytest.fixture
def dataset() -> Dataset:
    return build_dataset()


@pytest.fixture
def retriever() -> ByIndex:
    return ByIndex()


@pytest.fixture
def encoder() -> Letters:
    return Letters()
