"""Fixtures made of the hand-made parts beside this file."""

from __future__ import annotations

import pytest
from hand_made import ByIndex, Letters, build_dataset, evaluated_run

from deeprec.data.dataset import Dataset
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.run import Run


@pytest.fixture
def dataset() -> Dataset:
    return build_dataset()


@pytest.fixture
def retriever() -> ByIndex:
    return ByIndex()


@pytest.fixture
def encoder() -> Letters:
    return Letters()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, EvaluationSummary]:
    """One evaluated run for all tests of a module; they don't change it."""
    return evaluated_run(tmp_path_factory.mktemp("evaluated") / "run")
