"""MovieLens readers on hand-made files, their errors, and the real sets' known counts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from deeprec_data_files import ML_1M, ML_100K, write_folder, write_zip

from deeprec.config import DataConfig
from deeprec.data.prepare import prepare
from deeprec.data.summary import summarize
from deeprec.errors import DataError


def config(name: str, source: Path, **more: object) -> DataConfig:
    return DataConfig.model_validate(
        {"name": name, "source": str(source), "min_user_interactions": 1, **more}
    )


@pytest.mark.parametrize("kind", ["folder", "nested", "zip", "flat zip"])
def test_ml_100k_reads_folder_and_zip_alike(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        source = write_folder(tmp_path / "x", ML_100K)
    elif kind == "nested":
        source = write_folder(tmp_path / "x" / "ml-100k", ML_100K).parent
    else:
        source = write_zip(tmp_path / "x.zip", ML_100K, "ml-100k/" if kind == "zip" else "")
    dataset = prepare(config("ml-100k", source, rl_targets=0), seed=0)
    items = dataset.catalog.items
    assert [item.title for item in items] == ["Café (1995)", "Heat", "unknown"]
    assert [item.categories for item in items] == [("Action", "Drama"), ("Drama",), ()]
    assert [item.year for item in items] == [1995, 1996, None]
    assert dataset.user_ids == ["2", "1"]  # in order of first appearance
    one = dataset.known_history("1")
    assert one.history == (1, 3, 2)  # the tie at 30 keeps the source's order
    assert one.ratings == (3.0, 4.0, 2.0)
    assert one.timestamps == (5.0, 30.0, 30.0)
    assert one.profile == {"age": "24", "sex": "M", "occupation": "technician"}
    assert dataset.examples("test")[0].target == 2  # user 2: items 3, 1, 2


def test_copies_in_other_encodings_read_alike(tmp_path: Path) -> None:
    original = prepare(config("ml-100k", write_folder(tmp_path / "a", ML_100K)), seed=0)
    copy = prepare(config("ml-100k", write_folder(tmp_path / "b", ML_100K, "utf-8")), seed=0)
    assert copy.fingerprint == original.fingerprint
    wide = prepare(config("ml-100k", write_folder(tmp_path / "c", ML_100K, "utf-16-le")), seed=0)
    assert wide.fingerprint == original.fingerprint


def test_ml_1m_maps_codes_and_drops_unrated_items(tmp_path: Path) -> None:
    dataset = prepare(config("ml-1m", write_folder(tmp_path / "x", ML_1M)), seed=0)
    assert [item.label for item in dataset.catalog.items] == ["Amélie (2001)", "Heat (1995)"]
    assert dataset.catalog[1].categories == ("Comedy", "Romance")
    assert dataset.known_history("1").history == (2, 1)
    assert dataset.known_history("1").profile == {"age": "under 18", "sex": "F", "occupation": "K-12 student"}
    assert summarize(dataset).items_dropped == 1


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("u.data", "1\t1\t5\n", r"u\.data line 1: 3 fields"),
        ("u.data", "1\t1\t5\t20\n1\t2\tfive\t21\n", r"u\.data line 2: rating = 'five' is not a number"),
        ("u.data", "1\t1\t5\t20\n1\t2\t5\tnan\n", r"u\.data line 2: user '1' has no timestamp"),
        ("u.data", "1\t1\t5\t-3\n", r"u\.data line 1: timestamp -3 is negative"),
        ("u.data", "1\t1\t5\t3\n1\t2\t5\t\n", r"u\.data line 2: user '1' has no timestamp"),
        (
            "u.data",
            "1\t1\t5\t20\n1\t99\t5\t20\n",
            r"u\.data line 2: item '99' is not in .*u\.item.*unknown_items=drop",
        ),
        ("u.data", "\t1\t5\t20\n", r"u\.data line 1: empty user_id"),
        ("u.data", "", r"u\.data: no interactions"),
        ("u.item", "", r"u\.item: the catalogue is empty"),
        ("u.item", "1|A||||0|1|2\n", r"u\.item line 1: genre flag 'Drama' is '2'"),
        ("u.item", "1|A||||0|1|0\n1|B||||0|1|0\n", r"u\.item line 2: item id '1' is already on line 1"),
        ("u.item", "1|||||0|1|0\n", r"u\.item: no item has a title"),
        ("u.item", "|A||||0|1|0\n", r"u\.item line 1: empty item_id"),
        ("u.user", "1|24|M|x|1\n1|24|M|x|1\n", r"user '1' appears twice"),
    ],
)
def test_bad_lines_name_file_line_and_value(tmp_path: Path, file: str, text: str, message: str) -> None:
    source = write_folder(tmp_path / "x", {**ML_100K, file: text})
    with pytest.raises(DataError, match=message):
        prepare(config("ml-100k", source), seed=0)


def test_unknown_items_can_be_dropped_and_are_counted(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", {**ML_100K, "u.data": ML_100K["u.data"] + "1\t99\t5\t20\n"})
    dataset = prepare(config("ml-100k", source, unknown_items="drop"), seed=0)
    assert dataset.interactions.height == 6
    assert dataset.provenance.unknown_items_dropped == 1


def test_a_missing_member_an_other_archive_and_a_missing_source(tmp_path: Path) -> None:
    files = {name: text for name, text in ML_100K.items() if name != "u.item"}
    with pytest.raises(DataError, match=r"no file 'u\.item'"):
        prepare(config("ml-100k", write_folder(tmp_path / "x", files)), seed=0)
    with pytest.raises(DataError, match=r"no file 'u\.data' \(it has: movies\.dat"):
        prepare(config("ml-100k", write_zip(tmp_path / "y.zip", ML_1M)), seed=0)
    with pytest.raises(DataError, match=r"gone\.zip: does not exist"):
        prepare(config("ml-100k", tmp_path / "gone.zip"), seed=0)


def test_damaged_archives(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", ML_100K).read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.zip: is not a readable zip archive"):
        prepare(config("ml-100k", cut), seed=0)
    flipped = bytearray(whole)
    start = whole.index(b"u.data") + len("u.data") + 2
    flipped[start : start + 8] = b"\x00" * 8
    bad = tmp_path / "bad.zip"
    bad.write_bytes(bytes(flipped))
    with pytest.raises(DataError, match=r"bad\.zip:u\.data: can't be read"):
        prepare(config("ml-100k", bad), seed=0)


def test_declared_order_is_checked(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "x", ML_100K)
    with pytest.raises(
        DataError, match=r"u\.data line 4: user '2' goes back in time; sort by user, then time"
    ):
        prepare(config("ml-100k", source, order="source"), seed=0)


def test_real_ml_100k(shared_data: Path) -> None:
    dataset = prepare(DataConfig(name="ml-100k", source=str(shared_data / "ml-100k.zip")), seed=0)
    found = summarize(dataset)
    assert (found.users, found.items, found.interactions) == (943, 1682, 100_000)
    assert (found.tied_pairs, found.users_tied_last, found.titles_repeated) == (50_561, 415, 18)
    assert (found.targets["test"].count, found.targets["rl"].count) == (943, 3 * 943)
    # known members: the most rated film, the film without a date, genres as listed
    assert dataset.catalog[50].title == "Star Wars (1977)"
    assert (dataset.catalog[267].title, dataset.catalog[267].year) == ("unknown", None)
    assert dataset.catalog[1].categories == ("Animation", "Children's", "Comedy")
    assert all(dataset.catalog.resolve(item.label) == item.item_index for item in dataset.catalog.items)


def test_real_ml_1m_in_seconds(shared_data: Path) -> None:
    started = time.perf_counter()
    dataset = prepare(DataConfig(name="ml-1m", source=str(shared_data / "ml-1m.zip")), seed=0)
    examples = dataset.examples("test")
    took = time.perf_counter() - started
    found = summarize(dataset)
    assert (found.users, found.items, found.interactions) == (6040, 3706, 1_000_209)
    assert (found.tied_pairs, found.users_tied_last) == (528_961, 2544)
    assert len(examples) == 6040
    assert took < 30, f"took {took:.1f} s; a row loop has crept in"
