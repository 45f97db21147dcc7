"""What cells hold: ids, ratings, lists of categories, events; and which columns they stand in."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deeprec_data_files import write_folder

from deeprec.audit.findings import Verdict
from deeprec.audit.hashes import check_data
from deeprec.config import DataConfig, load_config
from deeprec.data.cells import categories, ids, numbers
from deeprec.data.dataset import Dataset
from deeprec.data.places import Place
from deeprec.data.prepare import prepare
from deeprec.errors import DataError
from deeprec.run import Run


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (["007", " 8 ", "", None, "136.0"], ["007", "8", None, None, "136.0"]),
        ([7, None], ["7", None]),
        ([136.0, float("nan"), None], ["136", None, None]),
        ([1.5, 2.0], ["1.5", "2.0"]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
        (pl.Series([-(2**63)], dtype=pl.Int64), ["-9223372036854775808"]),
        (pl.Series([2**64], dtype=pl.Int128), ["18446744073709551616"]),
        ([Decimal("136"), Decimal("7")], ["136", "7"]),
        ([Decimal("136.00")], ["136"]),
        ([date(2020, 1, 31)], ["2020-01-31"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series(["a"], dtype=pl.Enum(["a"])), ["a"]),
        ([True], ["true"]),
        ([b"abc"], ["abc"]),
        (pl.Series([None], dtype=pl.Null), [None]),
    ],
)
def test_ids_keep_their_text(values: object, texts: list[str | None]) -> None:
    assert ids(pl.Series(values), "f", "item_id").to_list() == texts


@pytest.mark.parametrize(
    "values", [[["a"]], [{"a": 1}], [timedelta(1)], [b"\xff\xfe"], [1.8446744073709552e19]]
)
def test_what_is_no_id(values: list[object]) -> None:
    with pytest.raises(DataError, match=r"^f: column item_id is "):
        ids(pl.Series(values), "f", "item_id")


def test_numbers_and_what_stands_for_none() -> None:
    def read(values: object) -> list[float | None]:
        return numbers(pl.Series(values), pl.Series([2, 3, 4]), Place("f"), "rating").to_list()

    assert read(["4.5", "", "NaN"]) == [4.5, None, None]
    assert read(["4,5", "3", "N/A"]) == [4.5, 3.0, None]  # a decimal comma
    assert read([4.5, float("nan"), None]) == [4.5, None, None]
    assert read([True, False, None]) == [1.0, 0.0, None]
    for values in (["5", "1,000,000", "3"], ["5", "five", "3"], ["5", "5 stars", "3"]):
        with pytest.raises(DataError, match=r"f line 3: rating = .* is not a number"):
            read(values)
    with pytest.raises(DataError, match=r"f: column rating is Date, expected numbers"):
        read([date(2020, 1, 1)] * 3)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("Drama|War", ["Drama", "War"]),
        ("['Beauty' 'Skin']", ["Beauty", "Skin"]),
        ("['Beauty'\n 'Skin' \"Men's\"]", ["Beauty", "Skin", "Men's"]),
        ("['Beauty', 'Hair, Care']", ["Beauty", "Hair, Care"]),
        ('["Beauty", "a|b"]', ["Beauty", "a|b"]),
        ("('Beauty',)", ["Beauty"]),
        ("{'Beauty'}", ["Beauty"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("[Action, Sci-Fi]", ["Action", "Sci-Fi"]),
        ("[{'id': 28, 'name': 'Action'}, {'id': 12, 'name': 'Adventure'}]", ["Action", "Adventure"]),
        ('{"history": 3, "biography": 1}', ["history", "biography"]),
        ("[['Toys', 'Games'], ['Else']]", ["Toys", "Games", "Else"]),
        ("[unclosed", ["[unclosed"]),
        ("Rock [live]", ["Rock [live]"]),
    ],
)
def test_lists_in_a_cell(cell: str, names: list[str]) -> None:
    assert categories(pl.Series([cell]), ("|",), "f").to_list() == [names]


@pytest.mark.parametrize(
    "cell", [None, "", " ", "(no genres listed)", "Unknown", "nan", "None", "[]", "[None]", "\\N"]
)
def test_what_says_that_there_is_no_category(cell: str | None) -> None:
    assert categories(pl.Series([cell, "a|b"]), ("|",), "f").to_list() == [[], ["a", "b"]]


def test_typed_lists_of_categories() -> None:
    assert categories(pl.Series([["a", None, "unknown"], None]), ("|",), "f").to_list() == [["a"], []]
    assert categories(pl.Series([[{"id": 1, "name": "a"}]]), ("|",), "f").to_list() == [["a"]]
    assert categories(pl.Series([["a", "b"]], dtype=pl.Array(pl.String, 2)), ("|",), "f").to_list() == [
        ["a", "b"]
    ]


ITEMS = "item_id,title\n" + "".join(f"010{n},T{n}\n" for n in range(3))


def shop(folder: Path, interactions: str | pl.DataFrame, items: str = ITEMS, **more: object) -> Dataset:
    write_folder(folder, {"items.csv": items}, "utf-8")
    source = folder / "rows"
    if isinstance(interactions, str):
        source.write_text(interactions)
    else:
        interactions.write_parquet(source)
    values = {"name": "table", "source": str(source), "items": str(folder / "items.csv")}
    return prepare(
        DataConfig.model_validate({**values, "min_user_interactions": 1, "rl_targets": 0, **more}), seed=0
    )


@pytest.mark.parametrize("unknown_items", ["refuse", "drop"])
@pytest.mark.parametrize(
    ("here", "hint"),
    [
        ([100, 101], r"'100' here, '0100' there: they differ by leading zeros"),
        ([100.0, 101.0], r"'100' here, '0100' there: they differ by leading zeros"),
        (["x", "y"], r"'x' here, '0100' there\)"),
    ],
)
def test_no_id_in_common_is_said_with_one_of_each_side(
    tmp_path: Path, unknown_items: str, here: list[object], hint: str
) -> None:
    rows = pl.DataFrame({"user_id": ["u", "u"], "item_id": here})
    with pytest.raises(DataError, match=r"none of its 2 rows has an item of .*items\.csv \(.*" + hint):
        shop(tmp_path, rows, unknown_items=unknown_items)


def test_other_differences_and_users_without_interactions(tmp_path: Path) -> None:
    rows = "user_id,item_id\nu,I1.0\nu,I2.0\n"
    with pytest.raises(DataError, match=r"'I1\.0' here, 'I1' there: they differ by a '\.0' at the end"):
        shop(tmp_path, rows, "item_id,title\nI1,A\nI2,B\n")
    with pytest.raises(DataError, match=r"'i1' here, 'I1' there: they differ by upper and lower case"):
        shop(tmp_path, "user_id,item_id\nu,i1\n", "item_id,title\nI1,A\n")
    users = tmp_path / "users.csv"
    users.write_text("user_id,age\n007,3\n")
    with pytest.raises(
        DataError, match=r"none of its 1 users is in .*\('7' here, '007' there: they differ by leading"
    ):
        shop(tmp_path, "user_id,item_id\n7,0100\n7,0101\n7,0102\n", users=str(users))


def test_an_event_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    lines = "user_id,item_id,timestamp\nu,0100,5\nu,0101,6\nu,0100,5\nu,0100,7\nu,0102,8\nu,0102,8\n"

    def counts(**more: object) -> tuple[int, ...]:
        found = shop(tmp_path, lines, **more)
        made = found.provenance
        assert made.rows_read == found.interactions.height + made.rows_dropped()
        return (found.interactions.height, made.duplicates_dropped, made.repeats_dropped)

    assert counts() == (3, 2, 1)
    assert counts(allow_repeats=True) == (4, 2, 0)
    assert counts(allow_repeats=True, duplicates="keep") == (6, 0, 0)
    assert counts(duplicates="keep") == (3, 0, 3)
    without_times = "user_id,item_id\nu,0100\nu,0101\nu,0100\nu,0100\n"
    repeated = shop(tmp_path, without_times, allow_repeats=True)
    assert repeated.interactions.height == 4  # without times nobody knows that they are one event


def test_doctor_names_a_target_that_is_the_event_before_it(tmp_path: Path) -> None:
    def finding(lines: list[str], **more: object) -> tuple[Verdict, str]:
        text = "user_id,item_id,timestamp\n" + "\n".join(lines) + "\n"
        dataset = shop(tmp_path, text, allow_repeats=True, **more)
        run = Run(tmp_path, load_config())
        (found,) = [f for f in check_data(run, dataset) if f.check == "no target is the event before it"]
        return found.verdict, found.text

    twice = ["u,0100,1", "u,0101,2", "u,0102,3", "u,0102,3"]
    verdict, text = finding(twice, duplicates="keep")
    assert verdict is Verdict.PROBLEM
    assert "user 'u': the test target '0102' is the last row of its history; prepare" in text
    assert finding(twice)[0] is Verdict.PROVEN
    assert finding([*twice[:3], "u,0102,9"])[0] is Verdict.PROVEN  # taken again, later
    untimed = [line.rsplit(",", 1)[0] + "," for line in twice]
    assert finding(untimed)[0] is Verdict.UNPROVEN


def test_every_row_is_in_use_or_counted(tmp_path: Path) -> None:
    """Blank lines, unknown items, duplicates, repeats, users and items with too few, rows behind the test time."""
    lines = [
        "a,0100,1",
        "a,0101,2",
        "a,0101,2",
        "a,0102,3",
        "a,0100,4",
        "",
        "a,lost,5",
        "b,0100,6",
        "c,0100,7",
    ]
    lines += [f"d,{item},{time}" for time, item in enumerate(("0100", "0101", "0102", "0100", "0101"), 10)]
    text = "user_id,item_id,timestamp\n" + "\n".join(lines) + "\n"
    for more in ({}, {"min_user_interactions": 2}, {"min_item_interactions": 3}, {"allow_repeats": True}):
        found = shop(tmp_path, text, unknown_items="drop", **more)
        assert found.provenance.rows_read == len(lines) - 1
        assert found.provenance.rows_read == found.interactions.height + found.provenance.rows_dropped(), more
    cut = shop(
        tmp_path,
        text,
        unknown_items="drop",
        split="time",
        allow_repeats=True,
        time_shares=(0.2, 0.2, 0.1),
    )
    assert cut.provenance.later_dropped > 0
    assert cut.provenance.rows_read == cut.interactions.height + cut.provenance.rows_dropped()


ORDERS = "user_id,item_id,timestamp\nu,0100,1600000000\nu,0101,1600000001\n"


def test_a_mapping_for_each_file(tmp_path: Path) -> None:
    products = "movieId,title,genres\n0100,A,(no genres listed)\n0101,B,Action|Sci-Fi\n"
    for settings in (
        {
            "columns": {"item_id": "movieId", "categories": "genres"}
        },  # ours is taken where theirs is not there
        {"item_columns": {"item_id": "movieId", "categories": "genres"}},
    ):
        found = shop(tmp_path, ORDERS, products, **settings)
        assert [item.categories for item in found.catalog.items] == [(), ("Action", "Sci-Fi")]
    with pytest.raises(
        DataError, match=r"data\.columns: user_id = 'kunde' is no column of .*rows or .*items\.csv"
    ):
        shop(tmp_path, ORDERS, products, columns={"user_id": "kunde", "item_id": "movieId"})
    with pytest.raises(
        DataError, match=r"items\.csv: no column 'id'; did you mean .*data\.item_columns = \{item_id"
    ):
        shop(tmp_path, ORDERS, products, item_columns={"item_id": "id"})
    with pytest.raises(DataError, match=r"data\.item_columns: unknown column 'titel'; did you mean 'title'"):
        shop(tmp_path, ORDERS, products, item_columns={"titel": "title"})


def test_columns_that_are_missing_are_guessed_in_the_message(tmp_path: Path) -> None:
    german = ORDERS.replace("user_id", "Kunde").replace("item_id", "Artikel")
    with pytest.raises(
        DataError, match=r"no column 'user_id'; did you mean 'Kunde'\? Map it with data\.columns = "
    ):
        shop(tmp_path, german)


def test_what_was_found_out_is_said(tmp_path: Path) -> None:
    rows = "user_id;item_id;timestamp\nu;0100;1600000000000\n\nu;0101;1600000001000\n"
    notes = " / ".join(shop(tmp_path, rows).provenance.notes)
    for said in (
        "rows: semicolon ';'",
        "1 blank line skipped",
        "column 'timestamp': milliseconds",
        "items.csv: comma ','",
    ):
        assert said in notes
    counted = shop(tmp_path, "user_id,item_id,timestamp\nu,0100,1\nu,0101,2\n").provenance.notes
    assert any("they are taken as an order" in note for note in counted)
    untimed = shop(tmp_path, "user_id,item_id\nu,0100\nu,0101\n").provenance.notes
    assert any("no column of times" in note for note in untimed)


def test_parquet_times_with_zones_and_spans(tmp_path: Path) -> None:
    stamps = pl.Series([datetime(2020, 1, 31, 1), datetime(2020, 1, 31, 2)])
    rows = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["0100", "0101"]})
    zoned = stamps.dt.replace_time_zone("Europe/Berlin")
    found = shop(tmp_path, rows.with_columns(timestamp=zoned))
    assert found.known_history("u").timestamps == (1580428800.0, 1580432400.0)
    for kind in (pl.Datetime("ns"), pl.Datetime("ms"), pl.Date):
        found = shop(tmp_path, rows.with_columns(timestamp=stamps.cast(kind)))
        assert found.known_history("u").timestamps[0] in (1580428800.0, 1580432400.0)
    with pytest.raises(DataError, match=r"column timestamp is Duration.*, a span of time; write dates"):
        shop(tmp_path, rows.with_columns(timestamp=pl.Series([timedelta(1), timedelta(2)])))
