"""The first page of the results: which evaluation it shows, what it says of it, and the picture."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from deeprec.errors import EvaluationError
from deeprec.evaluation.results import ResultRow, append_rows
from deeprec.evaluation.results_front import main_rows, standings, verdict
from deeprec.evaluation.results_page import check_results, render_pages, write_results
from deeprec.evaluation.results_picture import picture


def row(method: str = "trm", ndcg: float = 0.1, seed: int = 0, **other: object) -> ResultRow:
    values = {
        "dataset": "toys", "protocol": "leave-one-out", "method": method, "seed": seed, "targets": "a" * 16,
        "users": 100, "metrics": {"ndcg@10": ndcg, "seconds": 0.5}, "interval": {"ndcg@10": (ndcg - 0.01, ndcg + 0.03)},
        "command": f"deeprec quickstart --set seed={seed}", "minutes": 2.0, "machine": "2 cores", **other,
    }  # fmt: skip
    return ResultRow.model_validate(values)


def test_methods_stand_by_their_mean_over_seeds() -> None:
    found = standings([row(ndcg=0.1), row("ease", 0.2, 0, minutes=1.0), row("ease", 0.4, 1, minutes=3.0)])
    assert [(standing.method, standing.seeds) for standing in found] == [("ease", 2), ("trm", 1)]
    best = found[0]
    assert (best.value, best.low, best.high) == pytest.approx((0.3, 0.29, 0.33))
    assert (best.minutes, best.seconds) == (2.0, 0.5)


def test_the_evaluation_with_the_trained_policy_is_shown() -> None:
    large = [row(users=500, targets="b" * 16), row("ease", users=500, targets="b" * 16)]
    trained = [row(), row("recommendation")]
    assert main_rows([*large, *trained]) == trained
    assert {found.targets for found in main_rows(large + trained[:1])} == {"b" * 16}
    more_seeds = [row("recommendation", seed=seed, targets="c" * 16) for seed in range(3)]
    assert main_rows([*trained, *more_seeds]) == more_seeds
    assert main_rows([row(part="validation")]) == []


def test_the_verdict_counts_seeds() -> None:
    against = [(0.02, 0.01, 0.03), (0.01, -0.01, 0.03), (-0.06, -0.09, -0.03)]
    rows = [row(ndcg=0.1)] + [
        row("recommendation", seed=seed, differences={"trm": {"ndcg@10": found}})
        for seed, found in enumerate(against)
    ]
    assert verdict(rows) == (
        "DeepRec after stage 2 against its TRM: -0.0100 (-10 %); of 3 seeds 1 ahead, 1 behind, 1 unclear."
    )
    assert verdict([row()]) == ""


def test_the_picture_is_well_formed_and_escapes_names() -> None:
    drawn = picture(standings([row("<script>", 0.2), row(interval={})]), 'a "quoted" description')
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == 'a "quoted" description'
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<script>", "trm", "2.0"} <= set(texts)
    assert drawn.count('class="range') == 1  # where there is no interval none is drawn


def test_pages_of_rows_that_are_gone_are_taken_away(tmp_path: Path) -> None:
    file, page = tmp_path / "rows.json", tmp_path / "docs" / "results.md"
    append_rows(file, [row(), row(dataset="books")])
    assert set(render_pages(tmp_path)) == {
        "results.md", "results/toys.md", "results/toys.svg", "results/books.md", "results/books.svg",
    }  # fmt: skip
    write_results(tmp_path, page)
    check_results(tmp_path, page)
    file.unlink()
    append_rows(file, [row()])
    with pytest.raises(EvaluationError, match=r"books\.md: not current"):
        check_results(tmp_path, page)
    write_results(tmp_path, page)
    assert sorted(path.name for path in (page.parent / "results").iterdir()) == ["toys.md", "toys.svg"]


def test_a_data_set_without_test_rows_has_its_tables_alone(tmp_path: Path) -> None:
    append_rows(tmp_path / "rows.json", [row(part="validation")])
    pages = render_pages(tmp_path)
    assert set(pages) == {"results.md", "results/toys.md"}
    assert "No method was evaluated on its test users" in pages["results.md"]
