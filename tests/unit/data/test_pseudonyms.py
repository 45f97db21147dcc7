"""Made-up titles: consistent, unique, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deeprec_data_files import make_dataset

from deeprec.config import DataConfig
from deeprec.data.catalog import Catalog
from deeprec.data.format import read_dataset, write_dataset
from deeprec.data.prepare import prepare
from deeprec.data.pseudonyms import pseudonymise


def test_only_titles_change() -> None:
    real = prepare(DataConfig(), seed=0)
    made_up = prepare(DataConfig(pseudonyms=True), seed=0)
    assert made_up.interactions.equals(real.interactions)
    for before, after in zip(real.catalog.items, made_up.catalog.items, strict=True):
        assert replace(after, title=before.title, label=before.label) == before
        assert after.title != before.title
        assert after.title.endswith(f"({before.year})") == before.title.endswith(f"({before.year})")
    words = {word for item in real.catalog.items for word in item.title.split() if "(" not in word}
    used = {word for item in made_up.catalog.items for word in item.title.split() if "(" not in word}
    assert not words & used
    assert "pseudonyms" in str(made_up.protocol)
    assert made_up.targets_hash("test") == real.targets_hash("test")  # the same users, the same targets


def test_consistent_and_unique() -> None:
    dataset = make_dataset({"a": [1, 2, 3, 4, 5]})
    again = pseudonymise(replace(dataset, catalog=Catalog(dataset.catalog.items)))
    assert pseudonymise(dataset).catalog == again.catalog
    labels = [item.label for item in prepare(DataConfig(pseudonyms=True), seed=0).catalog.items]
    assert len(set(labels)) == len(labels)


def test_saved_and_read(tmp_path: Path) -> None:
    dataset = pseudonymise(make_dataset({"a": [1, 2, 3, 4, 5]}))
    write_dataset(dataset, tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert again.protocol.pseudonyms
    assert again.catalog == dataset.catalog
