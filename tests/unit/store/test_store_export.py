"""What users did since becomes data that the next training reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from small_world import build_dataset

from deeprec.config import load_config
from deeprec.data.dataset import Dataset
from deeprec.data.stage import load_data, run_data
from deeprec.errors import StoreError
from deeprec.run import Run
from deeprec.store import Feedback, HistoryEntry, Store, open_store
from deeprec.store.export import export_interactions, write_export

Rows = list[tuple[str, float | None, float | None]]


def own(dataset: Dataset, user: str) -> Rows:
    """The data set's own rows of a user: item, time, rating."""
    example = dataset.known_history(user)
    items = [dataset.catalog[index].item_id for index in example.history]
    return list(zip(items, example.timestamps, example.ratings, strict=True))


def of_user(frame: pl.DataFrame, user: str) -> Rows:
    return frame.filter(pl.col("user_id") == user).select("item_id", "timestamp", "rating").rows()


def click(user: str, item: str, time: float) -> Feedback:
    return Feedback(user, item, "click", time)


def rating(user: str, item: str, time: float, value: float) -> Feedback:
    return Feedback(user, item, "rating", time, value)


def test_an_empty_store_changes_nothing(store: Store) -> None:
    dataset = build_dataset()
    frame = export_interactions(store, dataset)
    assert frame.schema == {
        "user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64, "rating": pl.Float32
    }  # fmt: skip
    assert frame["timestamp"].is_sorted()
    assert frame.height == dataset.interactions.height
    for user in dataset.user_ids:
        assert of_user(frame, user) == own(dataset, user)


def test_clicks_and_ratings_are_added_and_impressions_are_not(store: Store) -> None:
    dataset = build_dataset()
    had = own(dataset, "u0")
    store.add_feedback(
        rating("u0", "id30", 60.0, 2.0),
        Feedback("u0", "id29", "impression", 40.0),
        click("u0", "id29", 50.0),
        click("new", "id1", 10.0),
    )
    frame = export_interactions(store, dataset)
    assert of_user(frame, "u0") == [*had, ("id29", 50.0, None), ("id30", 60.0, 2.0)]
    assert of_user(frame, "new") == [("id1", 10.0, None)]
    assert of_user(frame, "u1") == own(dataset, "u1")
    assert frame["timestamp"].is_sorted()


def test_an_item_that_the_user_has_is_not_added_again_but_rated(store: Store) -> None:
    dataset = build_dataset()
    had = own(dataset, "u0")
    first = had[0][0]
    store.add_feedback(
        click("u0", first, 50.0),
        rating("u0", first, 51.0, 1.5),
        click("u0", "id29", 52.0),
        rating("u0", "id29", 53.0, 4.0),
        rating("u0", "id29", 54.0, 3.0),
        click("u0", "id29", 55.0),
    )
    expected = [(first, had[0][1], 1.5), *had[1:], ("id29", 52.0, 3.0)]
    assert of_user(export_interactions(store, dataset), "u0") == expected


def test_where_repeats_are_allowed_each_click_counts(store: Store) -> None:
    dataset = build_dataset(allow_repeats=True)
    had = own(dataset, "u0")
    first = had[0][0]
    store.add_feedback(click("u0", first, 50.0), rating("u0", first, 51.0, 1.5), click("u0", first, 52.0))
    expected = [*had, (first, 50.0, 1.5), (first, 52.0, None)]
    assert of_user(export_interactions(store, dataset), "u0") == expected


def test_a_stored_history_takes_the_place_of_the_runs(store: Store) -> None:
    dataset = build_dataset()
    store.put_history("u0", [HistoryEntry("id3", 5.0, 2.0), HistoryEntry("id4", 9.0)])
    store.put_history("u1", [])
    store.put_history("new", [HistoryEntry("id3")])
    store.add_feedback(click("u0", "id9", 7.0), click("u0", "id4", 6.0))
    frame = export_interactions(store, dataset)
    assert of_user(frame, "u0") == [("id3", 5.0, 2.0), ("id4", 6.0, None), ("id9", 7.0, None)]
    assert of_user(frame, "u1") == []
    stored = next(history.stored for history in store.histories() if history.user_id == "new")
    assert of_user(frame, "new") == [("id3", stored, None)]


def test_entries_without_a_time_stay_where_they_stand(store: Store) -> None:
    entries = [
        HistoryEntry(f"id{n}", time) for n, time in enumerate((None, None, 5.0, None, 8.0, None), start=1)
    ]
    store.put_history("u0", entries)
    rows = of_user(export_interactions(store, build_dataset()), "u0")
    assert [row[0] for row in rows] == [entry.item_id for entry in entries]
    assert [row[1] for row in rows] == [5.0, 5.0, 5.0, 5.0, 8.0, 8.0]


def test_a_forgotten_user_is_left_out(store: Store) -> None:
    dataset = build_dataset()
    store.put_history("u0", [HistoryEntry("id3")])
    store.delete_user("u0")
    store.delete_user("u1")
    assert set(export_interactions(store, dataset)["user_id"]) == {f"u{number}" for number in range(2, 8)}


def test_data_without_times_keep_the_order_of_the_rows(store: Store) -> None:
    plain = build_dataset()
    nothing = pl.lit(None, dtype=pl.Float64).alias("timestamp")
    dataset = replace(plain, interactions=plain.interactions.with_columns(nothing))
    store.put_history("u1", [HistoryEntry("id9", 70.0), HistoryEntry("id8", 80.0)])
    store.add_feedback(click("u0", "id30", 50.0), click("u1", "id7", 1.0))
    frame = export_interactions(store, dataset)
    assert frame["timestamp"].null_count() == frame.height
    assert [row[0] for row in of_user(frame, "u0")] == [*(row[0] for row in own(plain, "u0")), "id30"]
    assert [row[0] for row in of_user(frame, "u1")] == ["id9", "id8", "id7"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on simulated users whose data stage is done."""
    overrides = ["data.synthetic.users=40", "data.synthetic.items=60"]
    made = Run.create(tmp_path_factory.mktemp("export") / "run", load_config("ci", overrides=overrides))
    run_data(made)
    return made


def prepared(config: Path, folder: Path) -> Dataset:
    """What the next run makes of the exported files."""
    return run_data(Run.create(folder, load_config(None, config)))


def test_an_unchanged_export_prepares_to_the_same_data(run: Run, tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        done = write_export(store, run, tmp_path / "next")
    assert (done.interactions, done.forgotten_users, done.unknown_items) == (done.run_interactions, 0, 0)
    before, after = load_data(run), prepared(done.config, tmp_path / "again")
    assert after.catalog == before.catalog
    assert after.users.sort("user_id").equals(before.users.sort("user_id"))
    for user in before.user_ids:
        assert after.known_history(user) == before.known_history(user)
    columns = ["user_id", "timestamp"]
    assert after.interactions.sort(columns).equals(before.interactions.sort(columns))


def test_the_next_training_learns_from_what_was_done_since(run: Run, tmp_path: Path) -> None:
    before = load_data(run)
    gone, active = before.user_ids[:2]
    late = 1.9e9
    had = {before.catalog[index].item_id for index in before.known_history(active).history}
    item = next(item.item_id for item in before.catalog.items if item.item_id not in had)
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.delete_user(gone)
        store.add_feedback(click(active, item, late), click(active, "unheard-of", late + 1))
        store.put_history("new", [HistoryEntry(entry.item_id) for entry in before.catalog.items[:6]])
        done = write_export(store, run, tmp_path / "next")
    assert (done.forgotten_users, done.unknown_items) == (1, 1)
    after = prepared(done.config, tmp_path / "again")
    assert gone not in after.user_ids
    assert gone not in after.users["user_id"].to_list()
    assert "new" in after.user_ids
    assert after.provenance.unknown_items_dropped == 1
    target = next(example for example in after.examples("test") if example.user_id == active)
    assert after.catalog[target.target].item_id == item
    assert target.timestamp == late


def test_what_users_said_is_exported_and_what_the_forgotten_said_is_not(run: Run, tmp_path: Path) -> None:
    first, gone = load_data(run).user_ids[:2]
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        assert write_export(store, run, tmp_path / "before").wishes == 0
        store.add_feedback(
            replace(click(first, "a", 1.0), wish="something funny"),
            replace(click(gone, "a", 2.0), wish="no musicals"),
            click(first, "b", 3.0),
            Feedback(first, "c", "impression", 4.0, wish="like Alien"),
        )
        store.delete_user(gone)
        assert write_export(store, run, tmp_path / "next").wishes == 2
    assert not (tmp_path / "before" / "wishes.parquet").exists()
    assert pl.read_parquet(tmp_path / "next" / "wishes.parquet").rows() == [
        (first, "a", "click", 1.0, "something funny"),
        (first, "c", "impression", 4.0, "like Alien"),
    ]


def test_an_export_takes_the_place_of_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with open_store(f"sqlite:///{tmp_path / 'db' / 'store.db'}") as store:
        with pytest.raises(StoreError, match="is not empty; name a new folder with --to"):
            write_export(store, run, tmp_path)
        with pytest.raises(StoreError, match=r"can't be written \(.*\); name another folder"):
            write_export(store, run, tmp_path / "notes.txt" / "next")
    assert (tmp_path / "notes.txt").read_text() == "mine"
