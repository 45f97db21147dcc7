"""A small simulated data set, and a TRM fitted on it once."""

from __future__ import annotations

import pytest

from deeprec.config import DataConfig, SyntheticConfig, TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.retriever import TRM
from deeprec.trm.training import fit


@pytest.fixture(scope="session")
def small_config() -> TRMConfig:
    return TRMConfig(
        width=32,
        layers=1,
        text_dim=32,
        experts=2,
        history=16,
        epochs=16,
        patience=16,
        dropout=0.1,
        tokens_per_batch=272,
        preference_steps=200,
    )


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    sizes = SyntheticConfig(users=150, items=80, genres=6, interactions_per_user=20)
    return prepare(DataConfig(synthetic=sizes), 0)


@pytest.fixture(scope="session")
def small_trm(small_dataset: Dataset, small_config: TRMConfig) -> TRM:
    encoder = build_text_encoder(small_config, small_dataset.catalog)
    return fit(small_dataset, encoder, small_config, device="cpu")
