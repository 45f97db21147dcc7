"""The rivals that join TRM and language model, fitted, loaded and shown on a small simulated data set."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.config import RunConfig, override_config
from deeprec.data.dataset import Dataset
from deeprec.data.format import write_dataset
from deeprec.data.stage import run_data
from deeprec.disk import read_jsonl
from deeprec.errors import ConfigError, RunError, TrainingError
from deeprec.rivals.one_shot.recommender import OneShotRecommender
from deeprec.rivals.registry import Explains, load_rival, run_rival
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.stage import run_trm

SFT, RL, ENHANCED = "trm-enhanced-llm-sft", "trm-enhanced-llm", "llm-enhanced-trm"
SETTINGS = (
    "data.synthetic.users=50", "data.synthetic.items=60", "data.synthetic.genres=4",
    "data.synthetic.interactions_per_user=14", "trm.kind=item-knn", "trm.text_dim=16",
    "policy.width=32", "policy.heads=2", "policy.key_value_heads=1", "policy.inner=64", "policy.pieces=300",
    "warm_start.trajectories_per_step=8", "warm_start.learning_rate=0.01",
    "rollout.history=6", "rollout.recommended=3", "rollout.segment_tokens=40",
    "rl.users_per_step=4", "rl.rollouts_per_user=2", "rl.trajectories_per_pass=8", "rl.evaluate_users=10",
    "rivals.one_shot.candidates=10", "rivals.one_shot.epochs=2", "rivals.one_shot.rl_steps=2",
    "rivals.enhanced_trm.short_history=9", "trm.epochs=1", "trm.preference_steps=20", "trm.width=16",
    "trm.layers=1",
)  # fmt: skip

Fitted = tuple[Run, Dataset, ExplorableRetriever]


def start(folder: Path, *changes: str) -> Fitted:
    run = Run.create(folder, override_config(RunConfig(), [*SETTINGS, *changes]))
    dataset = run_data(run)
    return run, dataset, run_trm(run, dataset)


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """A fit of seconds, though nobody can choose so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deeprec.rivals.one_shot.learning.COPIES", 80)
        patch.setattr("deeprec.rivals.one_shot.learning.TEXT_EPOCHS", 1)
        patch.setattr("deeprec.rivals.one_shot.learning.VALIDATION_USERS", 20)
        patch.setattr("deeprec.rivals.enhanced_trm.writer.TEXT_STEPS", 120)
        yield


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    run, dataset, trm = start(tmp_path_factory.mktemp("joined") / "run")
    for name in (SFT, RL, ENHANCED):
        run_rival(run, dataset, trm, name)
    return run, dataset, trm


def rankings(fitted: Fitted, name: str) -> list[tuple[int, ...]]:
    run, dataset, trm = fitted
    found = load_rival(run, dataset, trm, name).recommend(dataset.examples("test"), 3)
    return [one.ranking for one in found]


@pytest.mark.parametrize("name", [SFT, RL, ENHANCED])
def test_a_loaded_rival_ranks_alike_and_for_any_order_of_users(fitted: Fitted, name: str) -> None:
    run, dataset, trm = fitted
    before = rankings(fitted, name)
    assert any(before)
    assert rankings(fitted, name) == before
    examples = dataset.examples("test")
    turned = load_rival(run, dataset, trm, name).recommend(examples[::-1], 3)
    assert [one.ranking for one in turned[::-1]] == before
    assert run.finished()[f"rival:{name}"]["validation"]


def test_the_same_seed_gives_the_same_texts_and_rankings(fitted: Fitted, tmp_path: Path) -> None:
    again = start(tmp_path / "run")
    run_rival(*again, ENHANCED)
    assert rankings(again, ENHANCED) == rankings(fitted, ENHANCED)


def test_rl_trains_on_from_the_supervised_model(fitted: Fitted) -> None:
    run, dataset, _ = fitted
    rows = [row for row in read_jsonl(run.metrics) if row["stage"] == f"rival:{RL}"]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert all(0 <= row["validity"] <= 1 and row["retrievals"] == 0 for row in rows[1:])
    assert rows[0]["heldout/ndcg@10"] >= 0
    kept = read_jsonl(run.rival(RL) / "trajectories.jsonl")
    shown = [set(prompt_titles(row["prompt"])) for row in kept]
    assert all(
        dataset.catalog[row["target"]].label in titles for row, titles in zip(kept, shown, strict=True)
    )
    assert not run.trajectories.exists()  # where a target in a prompt would be a leak
    assert not run.rival(RL).with_name(f"{RL}.checkpoints").exists()
    files = [run.rival(name) / "policy" / "model.safetensors" for name in (SFT, RL)]
    assert files[0].read_bytes() != files[1].read_bytes()


def prompt_titles(prompt: str) -> list[str]:
    return [line.split(" ", 1)[1] for line in prompt.splitlines() if " " in line]


def test_what_was_read_and_written_can_be_seen(fitted: Fitted) -> None:
    run, dataset, trm = fitted
    rows = read_jsonl(run.rival(SFT) / "prompts.jsonl")
    assert len(rows) == 20
    for row in rows:
        labels = {dataset.catalog[item].label for item in row["candidates"]}
        assert labels <= set(prompt_titles(row["prompt"]))
        history = {dataset.catalog[item].label for item in dataset.known_history(row["user_id"]).history}
        assert set(prompt_titles(row["prompt"])) <= labels | history
    for name, words in ((RL, "Reads"), (ENHANCED, "The language model wrote")):
        rival = load_rival(run, dataset, trm, name)
        assert isinstance(rival, Explains)
        shown = CliRunner().invoke(app, ["rival", "show", name, "--user", "u1", "--run", str(run.folder)])
        assert shown.exit_code == 0
        assert words in shown.output
        assert rival.explain(dataset.known_history("u1")) in shown.output


def test_other_test_targets_make_the_same_rival(fitted: Fitted, tmp_path: Path) -> None:
    """Planted: every user's test target is another item. Nothing that is learned or written may change."""
    run, dataset, _ = fitted
    planted = []
    for row in dataset.interactions.to_dicts():
        if row["part"] == "test":
            known = dataset.known_history(row["user_id"]).history
            row["item_index"] = min(set(range(1, 61)) - set(known))
        planted.append(row)
    changed = replace(dataset, interactions=pl.DataFrame(planted, schema=dataset.interactions.schema))
    assert changed.targets_hash("test") != dataset.targets_hash("test")
    other = Run.create(tmp_path / "run", run.config)
    write_dataset(changed, other.data)
    other.finish("data", "planted", 0.0)
    run_rival(other, changed, run_trm(other, changed), SFT)
    for file in ("policy/model.safetensors", "policy/tokenizer.json", "prompts.jsonl"):
        assert (run.rival(SFT) / file).read_bytes() == (other.rival(SFT) / file).read_bytes()


def test_texts_are_kept_and_not_asked_again(
    fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, dataset, _ = fitted
    again = Run.create(tmp_path / "run", run.config)
    shutil.copytree(run.folder, again.folder, dirs_exist_ok=True)
    facts = run.finished()[f"rival:{ENHANCED}"]
    assert facts["items_with_text"] == facts["items"] == dataset.catalog.n_items
    assert facts["tokens"] > 0
    rows = read_jsonl(run.rival(ENHANCED) / "item_features.jsonl")
    assert [row["item_id"] for row in rows] == [item.item_id for item in dataset.catalog.items]
    augmented = read_jsonl(run.rival(ENHANCED) / "augmented.jsonl")
    assert len(augmented) == facts["short_histories"] > 0
    assert sum(len(row["items"]) for row in augmented) == facts["inserted"]
    cache = next((again.folder / "rivals" / f"{ENHANCED}.written").glob("*/item_features.jsonl"))
    before = cache.read_bytes()
    monkeypatch.setattr("deeprec.rivals.enhanced_trm.enriched.PHRASES", 1)
    run_rival(again, dataset, run_trm(again, dataset), ENHANCED)
    assert cache.read_bytes() == before
    assert again.finished()[f"rival:{ENHANCED}"]["tokens"] == facts["tokens"]
    broken = json.loads(before.splitlines()[0]) | {"model": "another"}
    cache.write_text(json.dumps(broken) + "\n")
    monkeypatch.setattr("deeprec.rivals.enhanced_trm.enriched.PHRASES", 2)
    with pytest.raises(RunError, match="was written by model 'another'"):
        run_rival(again, dataset, run_trm(again, dataset), ENHANCED)


def test_rl_needs_the_supervised_model(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"deeprec rival fit {SFT}"):
        run_rival(*start(tmp_path / "run"), RL)


def test_without_rl_targets_there_is_nothing_to_learn(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"has no RL targets; prepare it with data\.rl_targets"):
        run_rival(*start(tmp_path / "run", "data.rl_targets=0"), SFT)


def test_a_ranking_by_likelihood_is_made_by_the_setting(fitted: Fitted, tmp_path: Path) -> None:
    run, dataset, trm = fitted
    scored = Run(run.folder, override_config(run.config, ["rivals.one_shot.ranking=score"]))
    rival = load_rival(scored, dataset, trm, SFT)
    assert isinstance(rival, OneShotRecommender)
    for found in rival.recommend(dataset.examples("test")[:5], 3):
        assert len(found.ranking) == 3
        assert found.is_valid


@pytest.mark.parametrize("size", [2, 61])
def test_lists_of_the_wrong_size_are_refused(fitted: Fitted, size: int) -> None:
    run, dataset, trm = fitted
    other = Run(run.folder, override_config(run.config, [f"rivals.one_shot.candidates={size}"]))
    with pytest.raises(ConfigError, match=rf"rivals\.one_shot\.candidates = {size}: choose from 3 .* to 60"):
        load_rival(other, dataset, trm, SFT)
