from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deeprec.errors import EvaluationError
from deeprec.evaluation.results_page import render_pages
from deeprec.evaluation.tables import FigureTable, load_tables, render_table, write_table


def _table(**changes: Any) -> FigureTable:
    values: dict[str, Any] = {
        "dataset": "toy",
        "title": "What a preference does",
        "note": "A note.",
        "part": "test",
        "targets": "0123456789abcdef",
        "users": 3,
        "seed": 1,
        "columns": ("way", "NDCG@10", "users"),
        "rows": (("ours | all", 0.25, 3), ("none", None, 3)),
        "command": "deeprec trm fit",
        "machine": "2 cores",
        "versions": {"torch": "2.13.0"},
    }
    return FigureTable.model_validate({**values, **changes})


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    write_table(tmp_path / "tables" / "b.json", _table())
    write_table(tmp_path / "tables" / "a.json", _table(title="First"))
    assert [table.title for table in load_tables(tmp_path / "tables")] == ["First", "What a preference does"]
    assert load_tables(tmp_path / "tables")[1] == _table()
    assert load_tables(tmp_path / "absent") == []


def test_markdown_holds_cells_command_and_targets() -> None:
    text = render_table(_table())
    assert "| way | NDCG@10 | users |\n|---|---|---|\n| ours / all | 0.2500 | 3 |\n| none | - | 3 |" in text
    for part in (
        "`0123456789abcdef`",
        "seed 1",
        "deeprec trm fit",
        "A note.",
        "commit unknown",
        "torch 2.13.0",
    ):
        assert part in text


def test_the_page_shows_tables_with_their_data_set(tmp_path: Path) -> None:
    write_table(tmp_path / "tables" / "a.json", _table())
    page = render_pages(tmp_path)["results/toy.md"]
    assert page.index("# toy") < page.index("### What a preference does")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rows": [["one", 1.0]]}, r"a\.json: .*row 1 has 2 cells for 3 columns"),
        ({"users": 0}, r"a\.json: 'users'"),
        ({"surprise": 1}, r"a\.json: 'surprise'"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    values = {**_table().model_dump(mode="json"), **change}
    (tmp_path / "a.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(EvaluationError, match=match):
        load_tables(tmp_path)


def test_a_table_is_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"is called \*\.json"):
        write_table(tmp_path / "a.txt", _table())
