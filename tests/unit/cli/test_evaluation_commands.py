"""`deeprec evaluate`, `report` and `results` on a run with a real, briefly fitted TRM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.config import load_config
from deeprec.data.stage import run_data
from deeprec.errors import DataError, DeepRecError, EvaluationError, RunError
from deeprec.run import Run
from deeprec.trm.stage import run_trm


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands") / "run"
    # Seeds that differ: the oracle must take the simulation's own.
    overrides = [
        "seed=3",
        "data.synthetic.seed=2",
        "data.synthetic.users=40",
        "data.synthetic.items=60",
        "trm.epochs=1",
        "trm.preference_steps=20",
        "trm.width=16",
    ]
    run = Run.create(
        folder, load_config(overrides=[*overrides, "trm.text_dim=16", "evaluation.bootstrap=50"])
    )
    run_trm(run, run_data(run))
    return folder


def test_evaluate_report_and_results(fitted: Path, tmp_path: Path) -> None:
    summary = json.loads(invoke("evaluate", "--run", fitted, "--json"))
    assert set(summary["methods"]) == {"trm", "popularity", "oracle"}
    ndcg = {name: method["metrics"]["ndcg@10"]["mean"] for name, method in summary["methods"].items()}
    assert max(ndcg, key=lambda name: ndcg[name]) == "oracle"
    assert summary["users"] == 40
    assert "Plain TRM" in invoke("report", "--run", fitted)
    assert "</html>" in (fitted / "report" / "report.html").read_text(encoding="utf-8")
    assert json.loads(invoke("report", "--run", fitted, "--json")) == summary
    file, page = tmp_path / "results" / "small.json", tmp_path / "results.md"
    rows = json.loads(invoke("results", "add", fitted, "--results", file, "--json"))
    assert {row["targets"] for row in rows} == {summary["targets"]}
    invoke("results", "render", "--folder", file.parent, "--page", page)
    assert "is current" in invoke("results", "render", "--folder", file.parent, "--page", page, "--check")
    page.write_text("by hand")
    with pytest.raises(EvaluationError, match="not current"):
        invoke("results", "render", "--folder", file.parent, "--page", page, "--check")


def test_a_part_of_an_evaluation_leaves_the_run_alone(fitted: Path) -> None:
    before = {file: file.read_bytes() for file in fitted.rglob("*.json")}
    summary = json.loads(invoke("evaluate", "--run", fitted, "--methods", "trm", "--users", 7, "--json"))
    assert (list(summary["methods"]), summary["users"], summary["sampled"]) == (["trm"], 7, True)
    assert {file: file.read_bytes() for file in fitted.rglob("*.json")} == before


def test_files_for_papers_and_a_comparison(fitted: Path, tmp_path: Path) -> None:
    words = ("evaluate", "--run", fitted, "--methods", "trm,popularity")
    assert r"\toprule" in invoke(*words, "--to", tmp_path / "all", "--format", "latex")
    assert "| Method | Recall@1 |" in invoke(
        *words, "--users", 30, "--to", tmp_path / "some", "--format", "markdown"
    )
    names = {file.name for file in (tmp_path / "some").iterdir()}
    assert names == {
        "evaluation.json", "per_user.parquet", "slices.md", "slices.parquet", "slices.tex", "table.md", "table.tex",
    }  # fmt: skip
    found = json.loads(invoke("compare", tmp_path / "all", tmp_path / "some", "--format", "json"))
    assert (found["users"], len(found["missing"]["some"])) == (30, 10)
    table = invoke(
        "compare", tmp_path / "all", tmp_path / "some", "--against", "trm", "--to", tmp_path / "both"
    )
    assert "some: Plain TRM" in table
    assert (tmp_path / "both" / "comparison.json").is_file()


def test_some_users_and_another_part(fitted: Path) -> None:
    one = json.loads(invoke("evaluate", "--run", fitted, "--methods", "popularity", "--user", "u3", "--json"))
    assert (one["users"], one["sampled"]) == (1, True)
    words = ("evaluate", "--run", fitted, "--methods", "popularity", "--users", "validation")
    assert json.loads(invoke(*words, "--json"))["part"] == "validation"


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["evaluate", "--part", "fit"], EvaluationError, "choose `test` or `validation`"),
        (["evaluate", "--methods", "qwerty"], EvaluationError, "unknown method 'qwerty'; known:"),
        (["evaluate", "--methods", "popularty"], EvaluationError, "did you mean 'popularity'"),
        (["evaluate", "--methods", " ,"], EvaluationError, "names no method; known: popularity, trm"),
        (["evaluate", "--methods", "ease"], RunError, "run `deeprec rival fit ease --run"),
        (["evaluate", "--methods", "trm-refit"], RunError, "run `deeprec trm refit --run"),
        (["evaluate", "--users", "0"], EvaluationError, "--users 0: give a number of users"),
        (["evaluate", "--users", "validation", "--part", "test"], EvaluationError, "contradict each other"),
        (["evaluate", "--user", "u3", "--users", "5"], EvaluationError, "contradict each other"),
        (["evaluate", "--user", "u333"], DataError, "unknown user 'u333'.*'u33'"),
        (["evaluate", "--format", "html"], EvaluationError, "choose one of table, markdown, latex, json"),
        (["evaluate", "--methods", "recommendation"], RunError, "run `deeprec policy init"),  # comes first
    ],
)
def test_what_is_refused(fitted: Path, words: list[str], error: type[DeepRecError], message: str) -> None:
    with pytest.raises(error, match=message):
        invoke(*words, "--run", fitted)


def test_a_report_before_its_evaluation_names_the_command(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", load_config())
    with pytest.raises(EvaluationError, match="run `deeprec evaluate"):
        invoke("report", "--run", run.folder)


def test_sentences_of_wishes_are_chosen(fitted: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--run", fitted, "--wishes", "--methods", "trm,trm-wish", "--users", 12]
    tables = {
        which: json.loads(invoke(*words, "--sentences", which, "--json", "--to", tmp_path))
        for which in ("held-out", "new-words")
    }
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "synthetic-wishes-3.json",
        "synthetic-wishes-new-words-3.json",
    }
    assert "--sentences new-words" in tables["new-words"]["command"]
    assert "in words that training doesn't use" in tables["new-words"]["note"]
    silent = [dict(zip(table["columns"], table["rows"][0], strict=True)) for table in tables.values()]
    assert silent[0]["category"] == silent[1]["category"]  # the same users, who are told nothing
    assert tables["held-out"]["title"] != tables["new-words"]["title"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sentences", "new-words"), "belongs to --wishes"),
        (("--wishes", "--sentences", "old"), "choose one of held-out, new-words, validation"),
    ],
)
def test_sentences_that_can_t_be_are_refused(fitted: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        invoke("evaluate", "--run", fitted, *words)
