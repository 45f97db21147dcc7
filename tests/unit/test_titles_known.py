"""Titles that say nothing: the same films under the names of films that don't exist."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from reader_sources import FILES

from deeprec.config import load_config
from deeprec.data.readers.movielens import read_ml_100k

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_only_titles_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "titles_known", raising=False)
    from titles_known import unknown_titles

    for name, content in FILES["ml-100k"].items():
        (tmp_path / name).write_text(content)
    config = load_config("ml-100k").data
    real, other = read_ml_100k(tmp_path, config), unknown_titles(tmp_path, config)
    assert other.interactions.equals(real.interactions)
    assert other.items.drop("title").equals(real.items.drop("title"))
    titles = other.items["title"]
    assert titles.n_unique() == 3
    assert not set(titles) & set(real.items["title"])
    assert [title.endswith("(1979)") for title in titles] == [True, False, False]
    assert real.items["year"].to_list() == [1979, 1996, None]
