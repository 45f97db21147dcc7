"""`deeprec doctor` finds no leak in a real run, and every kind of leak that is planted in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from deeprec.audit.audit import audit
from deeprec.audit.findings import Finding, Verdict
from deeprec.audit.seen import ALLOWED, find_leaks
from deeprec.config import override_config
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset, write_dataset
from deeprec.disk import append_jsonl
from deeprec.ledger import ledger_file, read_ledger, write_ledger
from deeprec.rl import scripts, stage, warm_start
from deeprec.rollout import episode
from deeprec.run import Run
from deeprec.types import Example


@pytest.fixture
def run(copy_run: Callable[..., Run]) -> Run:
    return copy_run("run")


def problems(run: Run) -> list[str]:
    return [f"{one.check}: {one.text}" for one in audit(run) if one.verdict is Verdict.PROBLEM]


def finding(run: Run, words: str) -> Finding:
    return next(one for one in audit(run) if words in one.check)


def leaks(run: Run, stage_name: str) -> list[str]:
    ledger = read_ledger(run, stage_name)
    assert ledger is not None
    return find_leaks(ledger, read_dataset(run.data), ALLOWED[stage_name])


def in_fit(dataset: Dataset, part: str) -> Dataset:
    """The data set with a part's rows among those that a fit may see."""
    leaked = pl.when(pl.col("part") == part).then(pl.lit("fit")).otherwise("part")
    rows = dataset.interactions.with_columns(leaked.alias("part"))
    return replace(dataset, interactions=rows.filter(pl.col("part") == "fit"))


def test_a_real_run_is_proven(run: Run, load_parts: Callable[[Run], tuple]) -> None:
    from deeprec.evaluation.stage import run_evaluation
    from deeprec.pipeline import build_recommenders

    dataset, trm = load_parts(run)
    stage.run_rl(run, dataset, trm, "cold_start")
    stage.run_rl(run, dataset, trm, "recommendation")
    run_evaluation(run, dataset, trm, build_recommenders(run, ["popularity", "trm", "recommendation"]))
    found = audit(run)
    assert [one for one in found if one.verdict is not Verdict.PROVEN] == []
    checks = " ".join(one.check for one in found)
    for words in ("parts follow", "unique", "source gives", "every stage", "trm saw", "warm_start saw",
                  "cold_start saw", "recommendation saw", "share no user", "training prompt",
                  "evaluated prompt", "evaluation on test"):  # fmt: skip
        assert words in checks


@pytest.mark.parametrize("part", ["rl", "validation", "test"])
def test_a_fit_that_saw_targets(run: Run, part: str) -> None:
    from deeprec.trm.stage import run_trm

    short = Run.create(run.folder, override_config(run.config, ["trm.epochs=1", "trm.preference_steps=5"]))
    run_trm(short, in_fit(read_dataset(run.data), part))
    leak = finding(run, "trm saw fit alone")
    assert leak.verdict is Verdict.PROBLEM
    assert f"belongs to '{part}'" in leak.text


def test_a_refit_that_saw_targets(copy_run: Callable[..., Run]) -> None:
    from deeprec.trm.refit import run_trm_refit

    run = copy_run("run", "trm.epochs=1", "trm.preference_steps=5")
    dataset = read_dataset(run.data)
    run_trm_refit(run, dataset)
    assert finding(run, "trm_refit saw").verdict is Verdict.PROVEN
    run.begin("trm_refit")
    run_trm_refit(run, in_fit(dataset, "validation"))
    assert "belongs to 'validation'" in finding(run, "trm_refit saw").text


@pytest.mark.parametrize("part", ["rl", "test"])
def test_a_warm_start_that_saw_targets(
    copy_run: Callable[..., Run],
    load_parts: Callable[[Run], tuple],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    run = copy_run("run", "warm_start.script_steps=4")
    dataset, trm = load_parts(run)
    examples = dataset.examples(part)
    monkeypatch.setattr(scripts, "script_examples", lambda _data, _held, count, _rng: examples[:count])
    warm_start.run_warm_start(run, dataset, trm)
    assert finding(run, "warm_start saw").verdict is Verdict.PROBLEM
    assert any(f"belongs to '{part}'" in leak for leak in leaks(run, "warm_start"))


def test_an_rl_pool_of_targets(
    copy_run: Callable[..., Run], load_parts: Callable[[Run], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_run("run", "rl.cold_start.steps=1")
    dataset, trm = load_parts(run)
    real = stage.select

    def leaky(*arguments: object) -> object:
        found = real(*arguments)  # type: ignore[arg-type]
        return replace(found, cold_start=tuple(dataset.examples("test")))

    monkeypatch.setattr(stage, "select", leaky)
    stage.run_rl(run, dataset, trm, "cold_start")
    assert finding(run, "cold_start saw").verdict is Verdict.PROBLEM
    assert any("belongs to 'test'" in leak for leak in leaks(run, "cold_start"))


def test_a_prompt_that_shows_its_target(
    copy_run: Callable[..., Run], load_parts: Callable[[Run], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_run("run", "rl.cold_start.steps=1")
    dataset, trm = load_parts(run)
    real = episode.render_prompt

    def leaky(example: Example, *rest: object) -> str:
        return real(replace(example, history=(*example.history, example.target)), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(episode, "render_prompt", leaky)
    stage.run_rl(run, dataset, trm, "cold_start")
    leak = finding(run, "training prompt")
    assert leak.verdict is Verdict.PROBLEM
    assert "which comes as its target" in leak.text
    assert finding(run, "cold_start saw").verdict is Verdict.PROVEN  # the pool itself is clean


def test_an_evaluated_prompt_that_shows_its_target(
    run: Run, load_parts: Callable[[Run], tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deeprec.evaluation.stage import run_evaluation
    from deeprec.pipeline import build_recommenders

    real = episode.render_prompt

    def leaky(example: Example, catalog: Catalog, *rest: object) -> str:
        return f"Hint: {catalog[example.target].label}\n{real(example, catalog, *rest)}"  # type: ignore[arg-type]

    monkeypatch.setattr(episode, "render_prompt", leaky)
    run_evaluation(run, *load_parts(run), build_recommenders(run, ["warm_start"]))
    assert "which comes as its target" in finding(run, "evaluated prompt").text


@pytest.mark.parametrize("words", ["Hint: {label} is next.\n", "- {label} | Comedy\n"])
def test_a_prompt_that_names_a_later_item(run: Run, words: str) -> None:
    dataset = read_dataset(run.data)
    example = dataset.examples("rl")[0]
    later = dataset.catalog[dataset.known_history(example.user_id).history[-1]].label
    prompt = f"History\n{words.format(label=later)}<think>\n"
    append_jsonl(run.trajectories, {"user_id": example.user_id, "target": example.target, "prompt": prompt})
    assert "which comes after its target" in finding(run, "training prompt").text


def test_pools_that_share_a_user(run: Run) -> None:
    examples = read_dataset(run.data).examples("rl")
    for name, chosen in (("cold_start", examples[:4]), ("recommendation", examples[3:8])):
        write_ledger(run, name, chosen)
        run.finish(name, "x", 0.0)
    assert finding(run, "share no user").verdict is Verdict.PROBLEM


def test_a_ledger_with_strangers(run: Run) -> None:
    dataset = read_dataset(run.data)
    example = dataset.fit_histories()[0]
    stranger = next(
        i
        for i in range(1, dataset.catalog.n_items)
        if i not in dataset.known_history(example.user_id).history
    )
    write_ledger(run, "trm", [replace(example, history=(*example.history, stranger))])
    assert "is none of this user's interactions" in finding(run, "trm saw").text
    ledger_file(run, "trm").write_text("no Parquet")
    assert any("no readable ledger" in text for text in problems(run))
    ledger_file(run, "trm").unlink()
    assert finding(run, "trm saw").verdict is Verdict.UNPROVEN


def test_a_rival_that_saw_targets(run: Run) -> None:
    write_ledger(run, "rival:ease", read_dataset(run.data).examples("validation"))
    run.finish("rival:ease", "x", 0.0)
    assert "belongs to 'validation'" in finding(run, "rival:ease saw").text


@pytest.mark.parametrize("name", ["item_id", "label"])
def test_two_items_of_one_name(run: Run, name: str) -> None:
    dataset = read_dataset(run.data)
    first, second, *rest = dataset.catalog.items
    twin = replace(second, **{name: getattr(first, name)})
    write_dataset(replace(dataset, catalog=Catalog((first, twin, *rest))), run.data)
    assert f"two items have the {name}" in finding(run, "are unique").text


def test_other_data_than_the_run_began_with(run: Run) -> None:
    dataset = read_dataset(run.data)
    swapped = dataset.interactions.with_columns(pl.col("timestamp") + 1)
    write_dataset(replace(dataset, interactions=swapped), run.data)
    found = " ".join(problems(run))
    assert "recorded" in found
    assert "the source gives the same data again" in found
    assert "every stage was made from the present data" in found


def test_ties_in_another_order(run: Run) -> None:
    """Two interactions of one time change places: only the source can tell."""
    dataset = read_dataset(run.data)
    rows = dataset.interactions.to_dicts()
    rows[0]["item_index"], rows[1]["item_index"] = rows[1]["item_index"], rows[0]["item_index"]
    changed = pl.DataFrame(rows, schema=dataset.interactions.schema)
    write_dataset(replace(dataset, interactions=changed), run.data)
    assert finding(run, "source gives").verdict is Verdict.PROBLEM


def test_a_changed_file_is_a_finding(run: Run) -> None:
    file = run.data / "interactions.parquet"
    pl.read_parquet(file).with_columns(part=pl.lit("fit")).write_parquet(file)
    assert "do not belong to dataset.json" in problems(run)[-1]


@pytest.fixture
def evaluated(run: Run, load_parts: Callable[[Run], tuple]) -> Run:
    from deeprec.evaluation.stage import run_evaluation
    from deeprec.pipeline import build_recommenders

    dataset, trm = load_parts(run)
    run_evaluation(run, dataset, trm, build_recommenders(run, ["popularity", "trm"]))
    assert problems(run) == []
    return run


def test_an_evaluation_of_other_targets(evaluated: Run) -> None:
    file = evaluated.report / "evaluation.json"
    summary = json.loads(file.read_text())
    file.write_text(json.dumps(summary | {"targets": "0" * 16}))
    assert "names the targets 0000" in problems(evaluated)[-1]


def test_rankings_of_other_targets_or_users(evaluated: Run) -> None:
    file: Path = evaluated.report / "per_user.parquet"
    rows = pl.read_parquet(file)
    rows.with_columns(target=pl.col("target").first()).write_parquet(file)
    assert "the data say otherwise" in problems(evaluated)[-1]
    rows[:-1].write_parquet(file)
    assert "was evaluated on other users" in problems(evaluated)[-1]
    rows.with_columns(user_id=pl.lit("nobody")).write_parquet(file)
    assert "'nobody' has no test target" in problems(evaluated)[-1]


def test_rankings_with_the_users_own_past(evaluated: Run) -> None:
    file: Path = evaluated.report / "per_user.parquet"
    rows = pl.read_parquet(file)
    dataset = read_dataset(evaluated.data)
    past = dataset.catalog[dataset.fit_histories()[0].history[0]].item_id
    mine = dataset.fit_histories()[0].user_id
    leaked = pl.when(pl.col("user_id") == mine).then(pl.lit([past])).otherwise("ranking")
    rows.with_columns(leaked.alias("ranking")).write_parquet(file)
    assert "of the user's own past" in problems(evaluated)[-1]
