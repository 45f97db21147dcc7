"""Months as preferences: lifts by hand, clipping, the loudness that validation chooses, files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_world import build_dataset

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.periods import Periods, count_periods, month_phrase, months_of
from deeprec.trm.retriever import TRM
from deeprec.trm.training import fit_periods


def seconds(year: int, month: int) -> float:
    return datetime(year, month, 10, tzinfo=UTC).timestamp()


def dated(rows: list[tuple[int, int, int]]) -> Dataset:
    """The small data set with a fit part of (item, year, month), by one user."""
    base = build_dataset()
    frame = pl.DataFrame(
        [
            {"user_id": "u", "item_index": i, "timestamp": seconds(y, m), "rating": 1.0, "part": "fit"}
            for i, y, m in rows
        ],
        schema=base.interactions.schema,
    )
    return replace(base, interactions=frame)


def test_months_are_told_from_other_phrases() -> None:
    assert months_of(["2014-05", "Action", "1990s", "2014", "2014-13", "in 2014-05"]) == (
        [12 * 2014 + 4], ["Action", "1990s", "2014", "2014-13", "in 2014-05"],
    )  # fmt: skip
    assert month_phrase(seconds(2014, 5)) == "2014-05"
    assert months_of([month_phrase(seconds(1999, 12))])[0] == [12 * 1999 + 11]


def test_lifts_by_hand() -> None:
    """Item 1 is of the first half year alone, item 2 of both; neighbours count half."""
    dataset = dated([(1, 2000, 1), (1, 2000, 2), (2, 2000, 3), (2, 2000, 8)])
    periods = count_periods(dataset, 2)
    assert periods is not None
    assert (periods.start, periods.months, periods.weight) == (12 * 2000, 6, 0.0)
    assert periods.lifts.shape == (dataset.catalog.n_items + 1, 2)
    # First half: item 1 has 2, item 2 has 1 + half of 1; in all 3.5 there.
    assert periods.lifts[1, 0] == pytest.approx(np.log(2.5 / 4.5) - np.log(2.5 / 5))
    assert periods.lifts[2, 0] == pytest.approx(np.log(2.0 / 4.5) - np.log(2.5 / 5))
    assert periods.lifts[1, 1] == pytest.approx(np.log(1.5 / 3.5) - np.log(2.5 / 5))
    assert not periods.lifts[0].any()


def test_only_the_fit_part_counts() -> None:
    dataset = build_dataset()
    later = dataset.interactions.with_columns(pl.col("timestamp") * 3e7)
    changed = later.with_columns(
        pl.when(pl.col("part") == "fit").then("item_index").otherwise(31 - pl.col("item_index"))
    )
    first = count_periods(replace(dataset, interactions=later), 1)
    second = count_periods(replace(dataset, interactions=changed), 1)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.lifts, second.lifts)


def test_without_times_or_within_one_period_there_is_nothing_to_tell() -> None:
    assert count_periods(dated([(1, 2000, 1), (2, 2000, 2)]), 4) is None
    assert count_periods(dated([(1, 2000, 1), (2, 2001, 2)]), 0) is None
    none = build_dataset().interactions.with_columns(timestamp=pl.lit(None, dtype=pl.Float64))
    assert count_periods(replace(build_dataset(), interactions=none), 4) is None


def test_queries_take_the_mean_month_and_the_nearest_period() -> None:
    periods = Periods(12 * 2000, 3, np.zeros((4, 8), np.float32), 0.5)
    found = periods.vectors([[], [12 * 2000 + 4], [12 * 2000, 12 * 2001], [12 * 1990], [12 * 2050]])
    assert not found[0].any()
    assert found[1].tolist() == [0, 0.5, 0, 0, 0, 0, 0, 0]
    assert found[2].tolist() == [0.25, 0, 0, 0, 0.25, 0, 0, 0]
    assert found[3].argmax() == 0
    assert found[4].argmax() == 7


@pytest.fixture
def timed(small_trm: TRM, small_dataset: Dataset) -> tuple[TRM, Dataset]:
    """A fitted TRM, and data where each item belongs to the year of its index, a third of the catalogue a year."""
    years = 2000 + pl.col("item_index") % 3
    times = pl.datetime(years, 6, 1).dt.epoch("s").cast(pl.Float64)
    dataset = replace(small_dataset, interactions=small_dataset.interactions.with_columns(timestamp=times))
    trm = TRM(small_trm.network, small_trm.encoder, small_trm.catalog, small_trm.config, small_trm.seen)
    return trm, dataset


def test_a_month_lifts_its_items_and_nothing_changes_without_one(timed: tuple[TRM, Dataset]) -> None:
    trm, dataset = timed
    histories = [example.history for example in dataset.examples("test")[:20]]
    plain = trm.score(histories)[:, 1:]
    periods = count_periods(dataset, 1)
    assert periods is not None
    trm.periods = periods.with_weight(1.0)
    trm.refresh()
    np.testing.assert_allclose(trm.score(histories)[:, 1:], plain, atol=1e-5)
    asked = trm.score(histories, ["2001-06"] * 20)[:, 1:]
    gain = asked - plain
    ours = (np.arange(1, trm.n_items + 1) % 3 == 1) & trm.seen[1:]
    others = ~ours & trm.seen[1:]
    assert gain[:, ours].min() > gain[:, others].max()
    both, action = (trm.score(histories, [text] * 20)[:, 1:] for text in ("2001-06; Action", "Action"))
    np.testing.assert_allclose(both, asked + action - plain, atol=1e-4)


def test_validation_chooses_how_loud_a_month_is(timed: tuple[TRM, Dataset]) -> None:
    trm, dataset = timed
    examples = dataset.examples("validation")
    # Where the latest item's month is that of the target, months must speak; where never, be silent.
    right = [replace(e, timestamps=(*e.timestamps[:-1], seconds(2000 + e.target % 3, 6))) for e in examples]
    wrong = [
        replace(e, timestamps=(*e.timestamps[:-1], seconds(2000 + (e.target + 1) % 3, 6))) for e in examples
    ]
    fit_periods(trm, dataset, right)
    assert trm.periods is not None
    assert trm.periods.weight > 0
    fit_periods(trm, dataset, wrong)
    assert trm.periods is None


def test_they_are_saved_and_read(timed: tuple[TRM, Dataset], tmp_path: Path) -> None:
    trm, dataset = timed
    periods = count_periods(dataset, 1)
    assert periods is not None
    trm.periods = periods.with_weight(0.75)
    trm.refresh()
    trm.save(tmp_path)
    again = TRM.load(tmp_path, dataset.catalog)
    histories = [example.history for example in dataset.examples("test")[:5]]
    np.testing.assert_allclose(
        again.score(histories, ["2002-01"] * 5)[:, 1:],
        trm.score(histories, ["2002-01"] * 5)[:, 1:],
        atol=1e-5,
    )
    (tmp_path / "periods.safetensors").write_bytes(b"nothing")
    with pytest.raises(RetrievalError, match=r"periods\.safetensors: not readable .*fit the TRM again"):
        TRM.load(tmp_path, dataset.catalog)
