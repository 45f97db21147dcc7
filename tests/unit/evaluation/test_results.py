"""Rows of results: written, replaced, checked, and rendered."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from deeprec.cli.options import beginning_settings
from deeprec.config import load_config
from deeprec.errors import EvaluationError
from deeprec.evaluation.results import ResultRow, append_rows, load_rows, rerun_command, rows_of_run
from deeprec.evaluation.results_page import check_results, render_pages, write_results
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.run import Run


def row(
    seed: int = 0, method: str = "trm", targets: str = "a" * 16, ndcg: float = 0.1, **other: object
) -> ResultRow:
    metrics = {"recall@1": 0.1, "recall@5": 0.2, "recall@10": 0.3, "ndcg@5": 0.1, "ndcg@10": ndcg, "mrr": 0.1}
    values = {
        "dataset": "ml-100k", "protocol": "leave-one-out", "history": 20, "method": method, "seed": seed,
        "targets": targets, "users": 100, "metrics": metrics, "command": f"deeprec quickstart --set seed={seed}",
        "minutes": 2.0, "machine": "2 cores", **other,
    }  # fmt: skip
    return ResultRow.model_validate(values)


def test_rows_of_a_run(tmp_path: Path, evaluated: tuple[Run, EvaluationSummary]) -> None:
    run, summary = evaluated
    rows = {r.method: r for r in rows_of_run(run, summary)}
    assert set(rows) == {"trm", "warm_start", "recommendation"}
    assert rows["recommendation"].minutes >= 15.0  # TRM, warm start and both stages
    assert 1.0 <= rows["trm"].minutes < 2.0
    assert rows["recommendation"].metrics["ndcg@10"] == pytest.approx(1.0)
    assert set(rows["recommendation"].differences) == {"trm", "warm_start"}
    difference = summary.methods["recommendation"].differences["trm"]["ndcg@10"]
    assert rows["recommendation"].tests["trm"]["ndcg@10"] == pytest.approx(
        (difference.p_value, difference.holm_p)
    )
    assert {"coverage", "novelty", "diversity", "popularity_lift", "seconds"} <= set(rows["trm"].metrics)
    assert {"validity", "tokens"} <= set(rows["recommendation"].metrics)
    assert (rows["trm"].history, rows["recommendation"].history) == (50, 20)
    append_rows(tmp_path / "all.json", list(rows.values()))
    assert load_rows(tmp_path) == sorted(rows.values(), key=lambda r: r.method)


def test_a_row_added_again_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    append_rows(file, [row(0), row(1)])
    assert [r.metrics["ndcg@10"] for r in append_rows(file, [row(1, ndcg=0.9)])] == [0.1, 0.9]
    assert len(load_rows(file)) == 2


def test_seeds_are_aggregated_and_named(tmp_path: Path) -> None:
    below = {"trm": {"ndcg@10": (-0.1, -0.2, -0.05)}}
    rows = [row(0, ndcg=0.1), row(1, ndcg=0.2), row(2, ndcg=0.3), row(0, "recommendation", differences=below)]
    append_rows(tmp_path / "rows.json", rows)
    page = render_pages(tmp_path)["results/ml-100k.md"]
    assert "| trm | 3 | 20 | 0.1000 ± 0.0000 |" in page
    assert "0.2000 ± 0.1000" in page  # mean and standard deviation (n - 1) of 0.1, 0.2, 0.3
    assert (
        "| recommendation | trm | NDCG@10 | -0.1000 [-0.2000, -0.0500] | 0 ahead, 1 behind, 0 unclear |"
        in page
    )
    assert page.count("deeprec quickstart --set seed=SEED") == 1


def test_the_page_has_what_lists_are_like_and_the_tests(tmp_path: Path) -> None:
    metrics = row().metrics | {"coverage": 0.5, "novelty": 3.25, "popularity_lift": -0.125, "seconds": 0.01}
    below = {"trm": {"ndcg@10": (-0.1, -0.2, -0.05)}}
    rows = [row(0, metrics=metrics)] + [
        row(
            seed,
            "ease",
            metrics=metrics | {"tokens": 12.0},
            differences=below,
            tests={"trm": {"ndcg@10": (0.01, p)}},
        )
        for seed, p in ((0, 0.02), (1, 0.04))
    ]
    append_rows(tmp_path / "rows.json", rows)
    page = render_pages(tmp_path)["results/ml-100k.md"]
    assert "| MRR@10 | Coverage | Novelty | Popularity lift | LLM tokens | Seconds a user | Minutes |" in page
    assert "| 0.500 | 3.25 | -0.12 | - | 0.0100 | 2.0 |" in page
    assert "0 ahead, 2 behind, 0 unclear | 0.0400 |" in page  # the largest over seeds


def test_other_targets_never_share_a_table(tmp_path: Path) -> None:
    append_rows(tmp_path / "rows.json", [row(0), row(1, targets="b" * 16), row(2, command="deeprec other")])
    page = render_pages(tmp_path)["results/ml-100k.md"]
    assert page.count("| trm | 1 |") == 3
    assert page.count("100 users, targets `") == 3


def test_a_command_that_later_versions_refuse_says_which_commit_takes_it(tmp_path: Path) -> None:
    gone = "deeprec trm fit --set trm.dropout=0.2 --set trm.preference_noise=0.5 --set seed=0"
    append_rows(tmp_path / "rows.json", [row(0, command=gone, commit="abc123"), row(1, targets="b" * 16)])
    told = "Later versions refuse `trm.preference_noise`: the command is for commit `abc123`."
    pages = "".join(render_pages(tmp_path).values())
    assert pages.count("Later versions refuse") == 1
    assert told in pages


def test_one_hash_with_two_numbers_of_users_is_refused(tmp_path: Path) -> None:
    append_rows(tmp_path / "rows.json", [row(0), row(1, users=99)])
    with pytest.raises(EvaluationError, match=r"disagree on the number of users: \[99, 100\]"):
        render_pages(tmp_path)


def test_the_page_is_checked(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    with pytest.raises(EvaluationError, match="not current"):
        check_results(tmp_path, page)
    write_results(tmp_path, page)
    check_results(tmp_path, page)
    append_rows(tmp_path / "rows.json", [row()])
    with pytest.raises(EvaluationError, match="run `deeprec results render`"):
        check_results(tmp_path, page)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"ndcg@10": 1.5}}, "not between 0 and 1"),
        ({"metrics": {}}, "row 1: 'metrics'"),
        ({"metrics": {"ndcg@10": "0.1x"}}, "row 1: 'metrics.ndcg@10'"),
        ({"interval": {"hits": [0, 1]}}, "an interval without its metric: hits"),
        ({"tests": {"trm": {"hits": [0.1, 0.2]}}}, "an interval without its metric: hits"),
        ({"metrics": {"coverage": 1.5}}, "not between 0 and 1"),
        ({"unknown": 1}, "row 1: 'unknown'"),
        ({"targets": ""}, "row 1: 'targets'"),
        ({"minutes": -1}, "row 1: 'minutes'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([row().model_dump(mode="json") | change]))
    with pytest.raises(EvaluationError, match=message):
        load_rows(tmp_path)
    before = file.read_text()
    with pytest.raises(EvaluationError, match=r"rows\.json"):
        append_rows(file, [row()])
    assert file.read_text() == before


@pytest.mark.parametrize(("text", "message"), [("{}", "expected a list"), ("[", "not valid JSON")])
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(EvaluationError, match=message):
        load_rows(tmp_path)
    with pytest.raises(EvaluationError, match=r"kept in \.json files"):
        append_rows(tmp_path / "rows.csv", [row()])


@pytest.mark.parametrize("name", ["ml-100k", "amazon-games-2018"])  # with a preset of its own, and without
def test_the_command_repeats_the_settings(name: str) -> None:
    overrides = [
        f"data.name={name}", "data.source=/somewhere/else/files.zip", "rollout.prompt_fields=['rating', 'profile']",
        "rl.recommendation.weights={hit = 2.0}", "trm.epochs=7", "seed=4",
    ]  # fmt: skip
    config = load_config(overrides=overrides)
    words = shlex.split(rerun_command(config))
    assert "/somewhere" not in " ".join(words)
    assert words[:2] == ["deeprec", "quickstart"]
    options: dict[str, list[str]] = {}
    for option, value in zip(words[2::2], words[3::2], strict=True):
        options.setdefault(option, []).append(value)
    assert options["--source"] == ["files.zip"]
    (preset,) = options["--preset"]  # without one the command would choose one itself
    (data,) = options.get("--data", [None])
    again = beginning_settings(data, None, preset, None, options["--set"])
    source = config.data.model_copy(update={"source": None})
    assert again == config.model_copy(update={"data": source})
