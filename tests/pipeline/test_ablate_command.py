"""`deeprec ablate` on the tiny run: sharing, resuming, differences, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from deeprec.disk import read_jsonl
from deeprec.evaluation.tables import load_tables, render_table
from deeprec.run import Run
from deeprec.trm.kinds import NETWORK
from deeprec.trm.stage import load_trm, run_trm

SHORT = (
    "rl.cold_start.steps=2",
    "rl.evaluate_every=100",
    "evaluation.bootstrap=50",
    "evaluation.max_users=24",
)


def _ablate(run: Run, *words: str, settings: tuple[str, ...] = SHORT):
    from deeprec.cli.app import app

    changes = [word for setting in settings for word in ("--set", setting)]
    return CliRunner().invoke(app, ["ablate", "--run", str(run.folder), *words, *changes])


def test_ablations_share_stages_resume_and_compare_on_the_same_users(copy_run, tmp_path):
    run = copy_run()
    before = (run.folder / "run.toml").read_bytes()
    words = ("--only", "no-rank", "--variant", "empty-pool:selection.stage_one_share=0.0", "--seeds", "0",
             "--results", str(tmp_path / "tables"))  # fmt: skip
    printed = _ablate(run, *words, "--json")
    assert printed.exit_code == 1, printed.output  # one variant can't be trained; the others are kept
    rows = {row["variant"]: row for row in json.loads(printed.stdout)}
    assert list(rows) == ["trm", "full", "no-rank", "empty-pool"]
    assert rows["no-rank"]["seeds"] == [0]
    assert rows["empty-pool"]["seeds"] == []
    assert "no examples for stage 'cold_start'" in rows["empty-pool"]["failed"]["0"]
    assert (run.folder / "run.toml").read_bytes() == before

    full, lighter = (Run.open(run.folder / "ablations" / f"{name}-seed0") for name in ("full", "no-rank"))
    taken = [
        [stage for stage, record in sub.finished().items() if "shared" in record] for sub in (full, lighter)
    ]
    assert taken[0] == ["data", "trm", "warm_start"]  # of the run itself, which has the same seed
    assert taken[1] == ["data", "trm", "warm_start", "cold_start"]  # stage 1 doesn't know stage 2's weights
    weights = "trm/model.safetensors"
    assert (lighter.folder / weights).samefile(run.folder / weights)
    assert "rank" not in lighter.config.rl.recommendation.weights
    logged = [
        [row for row in read_jsonl(sub.metrics) if row["stage"] == "cold_start"] for sub in (full, lighter)
    ]
    assert logged[0] == logged[1] != []

    # The difference to the full method, by hand.
    means = []
    for sub in (lighter, full):
        found = pl.read_parquet(sub.report / "per_user.parquet").filter(pl.col("method") == "recommendation")
        assert found["user_id"].n_unique() == 24
        means.append(found["ndcg@10"].mean())
    assert rows["no-rank"]["differences"]["full"]["ndcg@10"]["mean"] == pytest.approx(means[0] - means[1])
    assert rows["full"]["figures"]["ndcg@10"]["mean"] == pytest.approx(means[1])

    (table,) = load_tables(tmp_path / "tables")
    assert "deeprec ablate --only no-rank --variant empty-pool:selection" in render_table(table)
    assert [row[0] for row in table.rows] == list(rows)

    times = {stage: record["time"] for stage, record in full.finished().items()}
    written = (full.report / "evaluation.json").stat().st_mtime_ns
    again = _ablate(run, *words)
    assert {stage: record["time"] for stage, record in full.finished().items()} == times
    assert (full.report / "evaluation.json").stat().st_mtime_ns == written
    assert "empty-pool, seed 0, failed: no examples" in " ".join(again.stdout.split())


def test_the_published_fusion_is_what_a_fit_from_the_beginning_gives(copy_run):
    run = copy_run()
    words = ("--only", "published-fusion", "--seeds", "3", "--methods", "warm_start", "--json")
    printed = _ablate(run, *words, settings=(*SHORT, "warm_start.script_steps=20"))
    assert printed.exit_code == 0, printed.output
    assert [row["method"] for row in json.loads(printed.stdout)] == ["trm", "warm_start", "warm_start"]
    sub = Run.open(run.folder / "ablations" / "published-fusion-seed3")
    assert not sub.policy("cold_start").exists()  # nobody asked for it
    assert sub.config.trm.seed == run.config.seed
    dataset, histories = run_data_of(sub)
    reused = load_trm(sub, dataset)

    fresh = Run.create(run.folder.parent / "fresh", sub.config)
    _copy_data(run, fresh)
    fitted = run_trm(fresh, dataset)
    wanted = [dataset.catalog.items[0].categories[0]] * len(histories)
    assert abs(fitted.score(histories)[:, 1:] - reused.score(histories)[:, 1:]).max() < 1e-4
    assert abs(fitted.score(histories, wanted)[:, 1:] - reused.score(histories, wanted)[:, 1:]).max() < 1e-3
    base = load_trm(run, dataset)
    assert run.config.trm.kind == NETWORK
    plain = base.retrieve(histories, k=10).item_indices
    assert (reused.retrieve(histories, k=10).item_indices == plain).all()  # only the fusion differs
    steered = reused.score(histories, wanted)[:, 1:] - reused.score(histories)[:, 1:]
    assert abs(steered).max() > 1e-2


def run_data_of(run: Run):
    from deeprec.data.stage import load_data

    dataset = load_data(run)
    return dataset, [example.history for example in dataset.examples("test")]


def _copy_data(source: Run, target: Run) -> None:
    from deeprec.ablation.sharing import share

    share(target, "data", source.finished()["data"]["inputs"], [source])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "no-rnk"), "did you mean 'no-rank'?"),
        (("--seeds", "one"), "'one' is no seed"),
        (("--methods", "trm"), "unknown policy 'trm'"),
        (("--methods", ","), "name at least one of"),
        (("--part", "fit"), "choose `test` or `validation`"),
        (("--variant", "x:data.name=ml-100k"), "which all sub-runs share"),
        (("--set", "data.name=ml-100k"), "make another run for other data"),
        (("--set", "seed=5"), "name the seeds by --seeds"),
        (("--only", "no-rank", "--set", "rl.recommendation.weights={hit = 1.0}"), "takes nothing away"),
    ],
)
def test_bad_input_is_one_line_and_runs_nothing(copy_run, words, message):
    run = copy_run()
    failed = _ablate(run, *words, settings=())
    assert message in str(failed.exception)
    assert "\n" not in str(failed.exception)
    assert not (run.folder / "ablations").exists()


def test_a_run_without_a_trm_names_the_command(copy_run, tmp_path: Path):
    run = copy_run()
    run.begin("trm")
    failed = _ablate(run, settings=())
    assert f"run `deeprec trm fit --run {run.folder}`" in str(failed.exception)
