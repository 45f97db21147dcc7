"""What users did since, as interactions for the next training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from deeprec.data.dataset import Dataset
from deeprec.data.stage import load_data
from deeprec.disk import whole_folder
from deeprec.errors import StoreError
from deeprec.run import Run
from deeprec.settings import DataConfig
from deeprec.settings.data import FILE_SETTINGS
from deeprec.store.base import Feedback, HistoryEntry, Store, StoredHistory
from deeprec.store.merging import merge
from deeprec.toml import to_toml

_SCHEMA = pl.Schema(
    {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64, "rating": pl.Float32}
)
_WISHES = pl.Schema(
    {
        "user_id": pl.String,
        "item_id": pl.String,
        "kind": pl.String,
        "timestamp": pl.Float64,
        "wish": pl.String,
    }
)
CONFIG, WISHES = "next.toml", "wishes.parquet"


@dataclass(frozen=True, slots=True)
class Export:
    """What `write_export` wrote: the settings that read it, and counts."""

    config: Path
    users: int
    interactions: int
    run_interactions: int  # of the run's own data, to compare with
    forgotten_users: int  # users of the run's data that are left out
    unknown_items: int  # interactions with items that the run's catalogue lacks
    wishes: int = 0  # feedback that brought what its user had said


def export_interactions(store: Store, dataset: Dataset) -> pl.DataFrame:
    """The data set's interactions as they stand now: `user_id, item_id, timestamp, rating`, oldest first.

    A stored history takes the place of the user's interactions in `dataset`. Clicks are
    added as interactions without a rating; a rating is given to the user's latest
    interaction with that item, or is an interaction itself. Impressions are none. Where
    the data set allows no repeats, an item that the user has already is not added again.
    Forgotten users are left out. Items that the catalogue lacks stay in.

    An entry without a time gets that of the entry before it, the first ones that of the
    next which has one, and all of a history without any the time when it was stored. If the
    data set has no times, `timestamp` is null, and each user's rows stand in their order.

    The data set's users are the first tenant's: of another one its own users alone are there.
    """
    ids = pl.Series([item.item_id for item in dataset.catalog.items], dtype=pl.String)
    rows = dataset.interactions.select(
        "user_id", ids.gather(dataset.interactions["item_index"] - 1).alias("item_id"), "timestamp", "rating"
    )
    rows = rows.clear() if store.tenant else rows
    timed = dataset.interactions["timestamp"].null_count() < dataset.interactions.height
    stored = {history.user_id: _with_times(history) for history in store.histories()}
    events: dict[str, list[Feedback]] = {}
    for feedback in store.feedback():
        if feedback.kind != "impression":
            events.setdefault(feedback.user_id, []).append(feedback)
    changed = list(dict.fromkeys([*stored, *events]))
    before = _known_entries(rows.filter(pl.col("user_id").is_in(changed))) | stored
    merged = [
        (user, entry.item_id, entry.timestamp if timed else None, entry.rating)
        for user in changed
        for entry in merge(before.get(user, []), events.get(user, []), dataset.allow_repeats, timed)
    ]
    others = rows.filter(~pl.col("user_id").is_in([*changed, *store.deleted(dataset.user_ids)]))
    found = pl.concat([others.cast(_SCHEMA), pl.DataFrame(merged, schema=_SCHEMA, orient="row")])
    return found.sort("timestamp", maintain_order=True) if timed else found


def export_wishes(store: Store) -> pl.DataFrame:
    """What users had said that they want when they gave feedback: `user_id, item_id, kind, timestamp, wish`.

    In the order of the feedback, impressions among it: what was shown for a wish and left alone tells, too.
    """
    rows = [
        (found.user_id, found.item_id, found.kind, found.time, found.wish)
        for found in store.feedback()
        if found.wish
    ]
    return pl.DataFrame(rows, schema=_WISHES, orient="row")


def write_export(store: Store, run: Run, folder: Path) -> Export:
    """Write `interactions.parquet`, `items.parquet`, perhaps `users.parquet`, and the settings to train on them.

    `wishes.parquet` stands beside them where users said any: training makes up its own, and reads none of these yet.
    The settings are the run's own with these files as data. `folder` is written whole or not at all, and
    must not hold anything yet; raises StoreError where it does or can't be written.
    """
    dataset = load_data(run)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder}: is not empty; name a new folder with --to")
    rows, wishes = export_interactions(store, dataset), export_wishes(store)
    known = [item.item_id for item in dataset.catalog.items]
    known_people = dataset.users.clear() if store.tenant else dataset.users
    people = known_people.join(rows, on="user_id", how="semi", maintain_order="left")
    with_users = bool(people.height) and people.width > 1
    try:
        with whole_folder(folder) as part:
            rows.write_parquet(part / "interactions.parquet")
            _items(dataset).write_parquet(part / "items.parquet")
            if with_users:
                people.write_parquet(part / "users.parquet")
            if wishes.height:
                wishes.write_parquet(part / WISHES)
            (part / CONFIG).write_text(_settings(run, folder.absolute(), with_users), encoding="utf-8")
    except (OSError, PolarsError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"{folder}: can't be written ({reason}); name another folder with --to") from None
    return Export(
        config=folder / CONFIG,
        users=rows["user_id"].n_unique(),
        interactions=rows.height,
        run_interactions=dataset.interactions.height,
        forgotten_users=0 if store.tenant else len(store.deleted(dataset.user_ids)),
        unknown_items=rows.filter(~pl.col("item_id").is_in(known)).height,
        wishes=wishes.height,
    )


def _known_entries(rows: pl.DataFrame) -> dict[str, list[HistoryEntry]]:
    """The data set's own interactions by user."""
    found: dict[str, list[HistoryEntry]] = {}
    for user, item, timestamp, rating in rows.iter_rows():
        found.setdefault(user, []).append(HistoryEntry(item, timestamp, rating))
    return found


def _with_times(history: StoredHistory) -> list[HistoryEntry]:
    """The entries, each with a time; never going back."""
    times = [entry.timestamp for entry in history.entries]
    latest = next((time for time in times if time is not None), history.stored)
    filled = []
    for entry in history.entries:
        latest = latest if entry.timestamp is None else entry.timestamp
        filled.append(replace(entry, timestamp=latest))
    return filled


def _items(dataset: Dataset) -> pl.DataFrame:
    """The catalogue as `data.name = "table"` reads it."""
    items = dataset.catalog.items
    return pl.DataFrame(
        {
            "item_id": [item.item_id for item in items],
            "title": [item.title for item in items],
            "categories": [list(item.categories) for item in items],
            "year": [item.year for item in items],
        },
        schema={"item_id": pl.String, "title": pl.String, "categories": pl.List(pl.String), "year": pl.Int32},
    )


def _settings(run: Run, folder: Path, with_users: bool) -> str:
    usual = DataConfig()
    data = run.config.data.model_copy(
        update={
            **{name: getattr(usual, name) for name in FILE_SETTINGS},
            "name": "table",
            "source": str(folder / "interactions.parquet"),
            "items": str(folder / "items.parquet"),
            "users": str(folder / "users.parquet") if with_users else None,
            "order": "time",
            "unknown_items": "drop",  # of items without a title there is nothing to learn; they are counted
        }
    )
    return to_toml(run.config.model_copy(update={"data": data}).model_dump(exclude_none=True))
