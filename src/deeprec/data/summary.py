"""What a data set holds, in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from deeprec.data.catalog import LONGEST_TITLE, clean_column, hidden_in
from deeprec.data.dataset import Dataset, TargetPart

TARGET_PARTS: tuple[TargetPart, ...] = ("script", "rl", "validation", "test")


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of one part; `cold` are those whose item nobody has in `fit`."""

    count: int
    cold: int
    hash: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a data set.

    `tied_pairs`: neighbouring interactions of a user with the same timestamp;
    `users_tied_last`: users whose last two tie, so that their test target depends on the
    source's order. `titles_repeated`: titles that several items share; `titles_hidden`: those that held
    characters which no reader sees, `titles_cut`: those too long for a label. `users_short`:
    users who are wholly in fit: too few interactions, or none after the first cut. What was read, left
    out and noted: see `Provenance`.
    """

    name: str
    users: int
    items: int
    interactions: int
    density: float
    fit_interactions: int
    users_short: int
    tied_pairs: int
    users_tied_last: int
    titles_repeated: int
    titles_empty: int
    titles_hidden: int
    titles_cut: int
    items_without_category: int
    items_without_year: int
    rows_read: int | None
    reader_dropped: dict[str, int]
    unknown_items_dropped: int
    duplicates_dropped: int
    repeats_dropped: int
    filtered_dropped: int
    users_dropped: int
    items_dropped: int
    later_dropped: int
    first_timestamp: float | None
    last_timestamp: float | None
    targets: dict[str, Targets]
    notes: tuple[str, ...]
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def summarize(dataset: Dataset) -> Summary:
    """Count everything that the summary table shows."""
    rows, items = dataset.interactions, dataset.catalog.table
    tied = ties(rows)
    last = (rows["user_id"] != rows["user_id"].shift(-1)).fill_null(True)  # of each user
    titles = clean_column(items["title"])
    repeated = titles.filter((titles != "") & titles.is_duplicated())
    users = int(last.sum())
    made = dataset.provenance
    return Summary(
        name=dataset.name,
        users=users,
        items=items.height,
        interactions=rows.height,
        density=rows.height / (users * items.height),
        fit_interactions=rows.filter(pl.col("part") == "fit").height,
        users_short=int((rows["part"].filter(last) == "fit").sum()),  # it comes before all others
        tied_pairs=int(tied.sum()),
        users_tied_last=int(tied.filter(last).sum()),
        titles_repeated=repeated.n_unique(),
        titles_empty=int((titles == "").sum()),
        titles_hidden=int(hidden_in(items["title"]).sum()),
        titles_cut=int((titles.str.len_chars() > LONGEST_TITLE).sum()),
        items_without_category=int((items["categories"].list.len() == 0).sum()),
        items_without_year=items["year"].null_count(),
        rows_read=made.rows_read,
        reader_dropped=dict(made.reader_dropped),
        unknown_items_dropped=made.unknown_items_dropped,
        duplicates_dropped=made.duplicates_dropped,
        repeats_dropped=made.repeats_dropped,
        filtered_dropped=made.filtered_dropped,
        users_dropped=made.users_dropped,
        items_dropped=made.items_dropped,
        later_dropped=made.later_dropped,
        first_timestamp=_number(rows["timestamp"].min()),
        last_timestamp=_number(rows["timestamp"].max()),
        targets={part: _targets(dataset, part) for part in TARGET_PARTS},
        notes=made.notes,
        fingerprint=dataset.fingerprint,
    )


def ties(rows: pl.DataFrame) -> pl.Series:
    """Whether each row has the time of the one before it, of the same user."""
    same_user = rows["user_id"] == rows["user_id"].shift()
    return (same_user & (rows["timestamp"] == rows["timestamp"].shift())).fill_null(False)


def _targets(dataset: Dataset, part: TargetPart) -> Targets:
    rows = dataset.interactions
    targets = rows["item_index"].filter(rows["part"] == part).to_numpy()
    known = np.zeros(dataset.catalog.n_items + 1, bool)
    known[rows["item_index"].filter(rows["part"] == "fit").to_numpy()] = True
    return Targets(len(targets), int((~known[targets]).sum()), dataset.targets_hash(part))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
