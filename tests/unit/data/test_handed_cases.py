"""Inputs that once broke the product, as they were handed in; small ones of their kinds are in the other files here.

They lie beside the checkout, not in it: without them these tests are skipped. Those that need a run are in
`tests/pipeline/test_handed_runs.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deeprec.cli.data import app
from deeprec.errors import DataError


def prepared(source: Path, run: Path, name: str = "table", *settings: str) -> dict[str, Any]:
    """The summary of the set as the command line gives it."""
    sets = [word for setting in settings for word in ("--set", setting)]
    arguments = ["prepare", name, "--source", str(source), "--run", str(run), "--json", *sets]
    outcome = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    summary: dict[str, Any] = json.loads(outcome.stdout)
    return summary


def test_csv_blank_line(cases: Path, tmp_path: Path) -> None:
    folder = cases / "csv-blank-line"
    assert prepared(folder / "last.csv", tmp_path / "a")["users"] == 10
    assert prepared(folder / "between.csv", tmp_path / "b")["users"] == 25


def test_csv_field_count(cases: Path, tmp_path: Path) -> None:
    folder = cases / "csv-field-count"
    for file, message in (
        ("longrow.csv", r"longrow\.csv line 177: 5 fields .*expected 4"),
        ("shortrow.csv", r"shortrow\.csv line 177: 4 fields .*expected 5"),
        ("quoted_newlines.csv", r"quoted_newlines\.csv line 36: timestamp = 'oops'"),
    ):
        with pytest.raises(DataError, match=message):
            prepared(folder / file, tmp_path / file)
        assert not (tmp_path / file / "run.toml").exists()


def test_quoted_tsv_swallows_rows(cases: Path, tmp_path: Path) -> None:
    folder = cases / "quoted-tsv-swallows-rows"
    listens = prepared(folder / "listens.tsv", tmp_path / "a")
    assert (listens["rows_read"], listens["interactions"], listens["items"]) == (330, 330, 30)
    apart = prepared(folder / "inter.tsv", tmp_path / "b", "table", f"data.items={folder / 'items.tsv'}")
    assert (apart["rows_read"], apart["interactions"], apart["items"]) == (330, 330, 30)


def test_input_tracebacks(cases: Path, tmp_path: Path) -> None:
    folder = cases / "input-tracebacks"
    assert prepared(folder / "cr_only.csv", tmp_path / "a")["interactions"] > 100
    with pytest.raises(DataError, match=r"duration\.parquet: column timestamp is Duration.*write dates"):
        prepared(folder / "duration.parquet", tmp_path / "b", "table", f"data.items={folder / 'items.csv'}")
    assert prepared(folder / "catdict", tmp_path / "c", "amazon-reviews")["items"] > 1


def test_ms_timestamps(cases: Path, tmp_path: Path) -> None:
    folder = cases / "ms-timestamps"
    for file, year in (("ms.csv", 2017), ("yyyymmdd.csv", 2020)):
        first = prepared(folder / file, tmp_path / file)["first_timestamp"]
        assert datetime.fromtimestamp(first, UTC).year == year
    with pytest.raises(DataError, match=r"the cuts 2020-09-13 .* do not divide its times"):
        prepared(folder / "ms_same.csv", tmp_path / "c", "table", "data.split=time")


def test_one_mapping_for_both_files(cases: Path, tmp_path: Path) -> None:
    folder = cases / "one-mapping-for-both-files"
    mapping = 'data.columns={item_id="movieId",categories="genres"}'
    products = f"data.items={folder / 'products.csv'}"
    assert prepared(folder / "orders.csv", tmp_path / "a", "table", products, mapping)["interactions"] > 100
    summary = prepared(
        folder / "orders.csv", tmp_path / "b", "table", f"data.items={folder / 'pandas_items.csv'}"
    )
    assert summary["items_without_category"] == 0


@pytest.mark.parametrize("file", ["inter_int.parquet", "inter_float.parquet"])
@pytest.mark.parametrize("unknown", ["refuse", "drop"])
def test_unknown_items_drop_blames_filter(cases: Path, tmp_path: Path, file: str, unknown: str) -> None:
    folder = cases / "unknown-items-drop-blames-filter"
    settings = (f"data.items={folder / 'items.csv'}", f"data.unknown_items={unknown}")
    with pytest.raises(DataError, match=r"none of its 240 rows .*'136' here, '0136' there: .*leading zeros"):
        prepared(folder / file, tmp_path / "a", "table", *settings)


def test_every_case_has_a_test(cases: Path) -> None:
    files = (Path(__file__), Path(__file__).parents[2] / "pipeline" / "test_handed_runs.py")
    tests = set(re.findall(r"^def test_(\w+)\(", "".join(file.read_text() for file in files), re.MULTILINE))
    folders = {folder.name.replace("-", "_") for folder in cases.iterdir() if folder.is_dir()}
    assert folders <= tests


@pytest.mark.slow
def test_quickstart_on_milliseconds_ends_with_a_report(
    cases: Path, tiny_settings: Path, tmp_path: Path
) -> None:
    folder, run = cases / "ms-timestamps", tmp_path / "q"
    words = ["quickstart", "--preset", "ci", "--config", str(tiny_settings), "--data", "table"]
    words += ["--source", str(folder / "ms.csv"), "--run", str(run), "--set", "rollout.now=true"]
    words += ["--set", 'rollout.prompt_fields=["date"]']
    program = [sys.executable, "-c", "from deeprec.cli import main; main()", *words]
    subprocess.run(program, check=True, capture_output=True, timeout=280)
    shown = (run / "report" / "trajectories.jsonl").read_text()
    assert " | 2018-" in shown
    assert (run / "report" / "report.html").is_file()
