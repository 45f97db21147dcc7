"""`deeprec data inspect`: what files look like to the reader, and settings that read them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest
from deeprec_data_files import ML_1M, ML_100K, write_folder, write_zip
from typer.testing import CliRunner

from deeprec.cli.data import app
from deeprec.config import load_config
from deeprec.data.inspection import Inspection, inspect_source
from deeprec.data.prepare import prepare
from deeprec.errors import ConfigError, DataError


def german_shop(folder: Path) -> tuple[Path, Path]:
    """What a German spreadsheet exports: semicolons, decimal commas, cp1252, CR LF; times in milliseconds."""
    draw = random.Random(3)
    sales = ["Kunde;Artikel-Nr;Gekauft am;Sterne"]
    for user in range(40):
        for place, item in enumerate(draw.sample(range(30), 8)):
            sales.append(f"K{user:03d};{item:04d};{1600000000000 + user + place * 86_400_000};4,5")
    items = "Artikel-Nr;Name;Kategorien\r\n" + "".join(
        f"{n:04d};Müsli {n};Essen, Früh\r\n" for n in range(30)
    )
    write_folder(folder, {"verkauf.csv": "\r\n".join(sales) + "\r\n", "artikel.csv": items}, "cp1252")
    return folder / "verkauf.csv", folder / "artikel.csv"


def taken_for(found: Inspection) -> dict[str, dict[str, str]]:
    return {
        view.role: {column.name: column.ours for column in view.columns if column.ours}
        for view in found.tables
    }


def test_a_german_shop(tmp_path: Path) -> None:
    sales, products = german_shop(tmp_path)
    for found in (inspect_source(sales, products), inspect_source(tmp_path)):
        assert taken_for(found) == {
            "interactions": {
                "Kunde": "user_id",
                "Artikel-Nr": "item_id",
                "Gekauft am": "timestamp",
                "Sterne": "rating",
            },
            "items": {"Artikel-Nr": "item_id", "Name": "title", "Kategorien": "categories"},
        }
        assert found.problem == ""
        assert found.outcome[0] == "320 rows of 40 users and 30 items, 2020-09-13 to 2020-09-20"
        (interactions, items) = found.tables
        assert interactions.kind.startswith("semicolon ';'")
        assert interactions.columns[1].holds == "numbers 0 to 29, 30 different, leading zeros"
        assert interactions.columns[2].holds == "milliseconds: 2020-09-13 to 2020-09-20"
        assert items.columns[1].examples[0] == "Müsli 0"
        file = tmp_path / "settings.toml"
        file.write_text(found.toml)
        dataset = prepare(load_config(file=file).data, seed=0)
        assert dataset.catalog[1].categories == ("Essen", "Früh")
        assert dataset.known_history("K000").ratings == (4.5,) * 8
        file.unlink()


def test_a_file_without_a_header(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.dat"
    ratings.write_text(
        "".join(
            f"{user}::{item}::{1 + item % 5}::{978300000 + item}\n" for user in (1, 2) for item in range(9)
        )
    )
    movies = tmp_path / "movies.dat"
    movies.write_text("".join(f"{item}::Film {item} (19{60 + item})::Drama|War\n" for item in range(9)))
    found = inspect_source(ratings, movies)
    assert found.settings["header"] == ["user_id", "item_id", "rating", "timestamp"]
    assert found.settings["item_header"][:2] == ["item_id", "title"]
    assert found.problem == ""
    assert found.outcome[0].startswith("18 rows of 2 users and 9 items, 2000-12-31")


def test_known_sets_are_recognised(tmp_path: Path) -> None:
    for name, source in (
        ("ml-100k", write_folder(tmp_path / "a", ML_100K)),
        ("ml-1m", write_zip(tmp_path / "b.zip", ML_1M, "ml-1m/")),
        (
            "recbole",
            write_folder(tmp_path / "c", {"x.inter": "user_id:token\n", "x.item": "item_id:token\n"}),
        ),
        (
            "mind",
            write_folder(
                tmp_path / "d", {"behaviors.tsv": "1\tU\t\t\t\n", "news.tsv": "N\ta\tb\tT\t\t\t\t\n"}
            ),
        ),
    ):
        assert inspect_source(source).settings == {"name": name, "source": str(source)}


def test_what_is_open_is_asked(tmp_path: Path) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_text("who_knows,item_id,title\na,1,A\n")
    found = inspect_source(orders)
    assert found.problem.startswith(
        f"{orders}: which column is user_id? Say it with data.columns = {{user_id"
    )
    assert "(free: who_knows)" in found.problem
    orders.write_text("user_id,item_id\na,1\n")
    assert "which column is title?" in inspect_source(orders).problem
    assert "name it with --items" in inspect_source(orders).problem
    orders.write_text("user_id,item_id,title,timestamp\na,1,A,01/02/2020\na,2,B,03/02/2020\n")
    found = inspect_source(orders)
    assert "data.time_format" in found.problem
    assert found.tables[0].columns[3].holds.startswith("no times: ")
    with pytest.raises(DataError, match=r"nowhere: does not exist"):
        inspect_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no file"):
        inspect_source(write_folder(tmp_path / "empty", {}))


def test_typed_columns(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    frame = pl.DataFrame({"userId": [7, 7], "movieId": [1, 2], "title": ["A", "B"], "genres": [["x"], ["y"]]})
    frame.write_parquet(file)
    found = inspect_source(file)
    assert found.settings["columns"] == {"user_id": "userId", "item_id": "movieId", "categories": "genres"}
    assert [column.holds for column in found.tables[0].columns] == [
        "Int64, 1 different",
        "Int64, 2 different",
        "text, 2 different",
        "lists",
    ]
    assert found.problem == ""


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    sales, products = german_shop(tmp_path)
    written = tmp_path / "shop.toml"
    words = ["inspect", str(sales), "--items", str(products), "--write", str(written)]
    shown = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    for said in (
        "semicolon",
        "Gekauft am",
        "milliseconds",
        'user_id = "Kunde"',
        f"quickstart --config {written}",
    ):
        assert said in shown
    assert tomllib.loads(written.read_text())["data"]["encoding"] == "cp1252"
    with pytest.raises(ConfigError, match="is there already"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    as_json = CliRunner().invoke(app, ["inspect", str(sales), "--items", str(products), "--json"]).stdout
    assert json.loads(as_json)["tables"][1]["settings"]["item_columns"]["title"] == "Name"


@pytest.mark.slow
def test_from_inspect_to_a_report_in_three_commands(tmp_path: Path) -> None:
    sales, products = german_shop(tmp_path)
    run, settings = tmp_path / "run", tmp_path / "shop.toml"
    small = ["--preset", "ci", "--set", "evaluation.max_users=8", "--set", "rl.evaluate_every=100"]
    for words in (
        ["data", "inspect", str(sales), "--items", str(products), "--write", str(settings)],
        ["quickstart", "--config", str(settings), "--run", str(run), *small],
        ["report", "--run", str(run)],
    ):
        program = [sys.executable, "-c", "from deeprec.cli import main; main()", *words]
        subprocess.run(program, check=True, capture_output=True, timeout=290)
    assert "Müsli" in (run / "report" / "report.html").read_text(encoding="utf-8")
