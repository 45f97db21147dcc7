"""Preferences that name a month: what is chosen more than usual around it.

An item's history of popularity is nothing that a sequence of items tells. A phrase such as
`2014-05` adds to every item's score how much more often than usual it was chosen in that
part of the year, by the fit part alone. How loud it speaks is chosen on validation users, who
are asked for the month of their latest item: what a policy can read off its prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError

NOW = "now"  # how a preference may call the month of the user's latest interaction
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # tried on validation
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_MOST_PERIODS = 400
_DAMPING = 0.5  # added to every count


@dataclass(frozen=True)
class Periods:
    """Log-lifts of items by period: ln(share of the item in the period / its share over all time).

    `lifts` (n_items + 1, P) is float32, row 0 zero; period 0 begins at month `start`, counted
    from the year 0, and each is `months` long. Neighbouring periods count half.
    """

    start: int
    months: int
    lifts: NDArray[np.float32]
    weight: float

    def vectors(self, preferences: list[list[int]]) -> NDArray[np.float32]:
        """Query parts (B, P): the mean over the months of each preference, zero where there are none."""
        found = np.zeros((len(preferences), self.lifts.shape[1]), dtype=np.float32)
        for row, months in enumerate(preferences):
            for month in months:
                # A month before or after all that is known is answered by the nearest period.
                place = min(max((month - self.start) // self.months, 0), found.shape[1] - 1)
                found[row, place] += self.weight / len(months)
        return found

    def with_weight(self, weight: float) -> Periods:
        """The same lifts at another loudness."""
        return replace(self, weight=weight)

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        facts = {"start": str(self.start), "months": str(self.months), "weight": repr(self.weight)}
        save_file({"lifts": self.lifts}, str(file), metadata=facts)

    @classmethod
    def load(cls, file: Path) -> Periods:
        """Read what `save` wrote."""
        from safetensors import safe_open

        with safe_open(str(file), framework="numpy") as stored:
            facts: dict[str, Any] = stored.metadata()
            lifts: NDArray[np.float32] = stored.get_tensor("lifts")
        return cls(int(facts["start"]), int(facts["months"]), lifts, float(facts["weight"]))


def read_periods(file: Path, n_items: int) -> Periods | None:
    """What `Periods.save` wrote for a catalogue of so many items; None where there is no such file.

    Raises RetrievalError for one that can't be read, or is of another catalogue.
    """
    if not file.exists():
        return None
    from safetensors import SafetensorError

    try:
        periods = Periods.load(file)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise RetrievalError(f"{file}: not readable ({error}); fit the TRM again") from None
    if len(periods.lifts) != n_items + 1:
        raise RetrievalError(
            f"{file}: holds {len(periods.lifts) - 1} items, the catalogue {n_items}; fit the TRM again"
        )
    return periods


def month_phrase(timestamp: float) -> str:
    """The month of a time in seconds, as prompts and preferences write it: `2014-05`."""
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m}"


def months_of(phrases: list[str]) -> tuple[list[int], list[str]]:
    """Months that phrases name, counted from the year 0, and the other phrases.

    >>> months_of(["2014-05", "Action"])
    ([24172], ['Action'])
    """
    matches = [_MONTH.fullmatch(phrase) for phrase in phrases]
    months = [12 * int(match[1]) + int(match[2]) - 1 for match in matches if match]
    return months, [phrase for phrase, match in zip(phrases, matches, strict=True) if not match]


def count_periods(dataset: Dataset, per_year: int) -> Periods | None:
    """Lifts of the fit part at weight 0; None without times, or where all is one period."""
    rows = dataset.interactions.filter(pl.col("part") == "fit").drop_nulls("timestamp")
    if per_year == 0 or not rows.height:
        return None
    when = pl.from_epoch(pl.col("timestamp").cast(pl.Int64))
    months = rows.select(month=when.dt.year() * 12 + when.dt.month() - 1)["month"].to_numpy()
    length = 12 // per_year
    start = int(months.min()) // length * length
    places = (months - start) // length
    if not 2 <= places.max() + 1 <= _MOST_PERIODS:
        return None
    counts = np.zeros((dataset.catalog.n_items + 1, int(places.max()) + 1))
    np.add.at(counts, (rows["item_index"].to_numpy(), places), 1.0)
    smooth = counts.copy()
    smooth[:, 1:] += 0.5 * counts[:, :-1]
    smooth[:, :-1] += 0.5 * counts[:, 1:]
    share = (smooth + _DAMPING) / (smooth.sum(axis=0) + 1.0)
    usual = (counts.sum(axis=1) + _DAMPING) / (counts.sum() + 1.0)
    lifts = np.log(share) - np.log(usual)[:, None]
    lifts[0] = 0.0
    return Periods(start, length, lifts.astype(np.float32), 0.0)
