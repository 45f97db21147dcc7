"""Fitting, saving and showing the two rivals on a small simulated data set."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from small_world import build_codec
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.config import PolicyConfig, RunConfig, override_config
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.data.split import refit_data
from deeprec.data.stage import run_data
from deeprec.disk import read_jsonl
from deeprec.errors import ConfigError, DataError, EvaluationError, PolicyError, RunError
from deeprec.next_item.model import build_model
from deeprec.next_item.training import ItemTrainer, measure
from deeprec.next_item.vocabulary import code_names, title_names
from deeprec.policy.loading import save_policy
from deeprec.policy.tiny import build_tiny
from deeprec.rivals.registry import Explains, load_rival, run_rival
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.baselines import Popularity
from deeprec.trm.recommender import TRMRecommender
from deeprec.trm.stage import run_trm

BOTH = ("llm-title-tokens", "llm-semantic-ids")
SETTINGS = (
    "data.synthetic.users=220",
    "data.synthetic.items=80",
    "data.synthetic.genres=6",
    "data.synthetic.interactions_per_user=20",
    "trm.kind=popularity",
    "trm.text_dim=32",
    *(
        f"rivals.item_tokens.{change}"
        for change in (
            "width=32", "layers=1", "history=16", "code_history=16", "dropout=0.1",
            "epochs=14", "patience=14", "learning_rate=0.01", "tokens_per_batch=512", "beams=12",
        )
    ),
)  # fmt: skip

Fitted = tuple[Run, Dataset, ExplorableRetriever]


def start(folder: Path, *changes: str) -> Fitted:
    run = Run.create(folder, override_config(RunConfig(), [*SETTINGS, *changes]))
    dataset = run_data(run)
    return run, dataset, run_trm(run, dataset)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    run, dataset, trm = start(tmp_path_factory.mktemp("rivals") / "run")
    steps: list[np.ndarray] = []
    step = ItemTrainer.step

    def watched(self: ItemTrainer, windows: torch.Tensor) -> torch.Tensor:
        steps.append(windows.cpu().numpy().copy())
        return step(self, windows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ItemTrainer, "step", watched)
        for name in BOTH:
            run_rival(run, dataset, trm, name)
    rows = {tuple(row[row > 0].tolist()) for batch in steps for row in batch}
    (run.folder / "windows.json").write_text(json.dumps(sorted(rows)))
    return run, dataset, trm


def test_no_held_out_target_is_trained_on(fitted: Fitted) -> None:
    """Every window of every step is a piece of what stands before a user's validation target."""
    run, dataset, _ = fitted
    rows = json.loads((run.folder / "windows.json").read_text())
    pieces = set()
    for example in refit_data(dataset).fit_histories():
        known = example.history
        assert len(known) == len(dataset.known_history(example.user_id).history) - 2
        pieces |= {known[a:b] for a in range(len(known)) for b in range(a + 1, min(a + 17, len(known)) + 1)}
    assert len(rows) > 500
    assert {tuple(row) for row in rows} <= pieces


@pytest.mark.parametrize("name", BOTH)
def test_it_has_learned_more_than_popularity(fitted: Fitted, name: str) -> None:
    run, dataset, trm = fitted
    examples = dataset.examples("test")
    popular = measure(TRMRecommender(Popularity.fit(dataset), dataset), examples)
    found = measure(load_rival(run, dataset, trm, name), examples)
    print(name, found, popular)
    assert found.ndcg > 1.15 * popular.ndcg


@pytest.mark.parametrize("name", BOTH)
def test_what_was_validated_is_what_is_loaded(fitted: Fitted, name: str) -> None:
    run, dataset, trm = fitted
    facts = run.finished()[f"rival:{name}"]
    loaded = measure(load_rival(run, dataset, trm, name), dataset.examples("validation"))
    assert loaded.record() == {"ndcg": facts["ndcg"], "recall": facts["recall"]}
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    own = [row for row in rows if row["stage"] == f"rival:{name}"]
    # The epoch that is kept is the likeliest, whatever its NDCG@10.
    assert facts["ndcg"] == min(own, key=lambda row: row["nats"])["ndcg"]
    assert facts["parameters"] > 0


def test_facts_of_semantic_ids(fitted: Fitted) -> None:
    facts = fitted[0].finished()["rival:llm-semantic-ids"]
    assert facts["codebook"] == 16
    assert facts["vectors"] == "text"  # popularity has no item vectors
    assert facts["quantisation_errors"] == sorted(facts["quantisation_errors"], reverse=True)
    assert len(facts["codes_used"]) == 3
    assert facts["collisions"] < 40


@pytest.mark.parametrize("name", BOTH)
def test_the_files_are_hugging_faces_and_hold_no_pickle(fitted: Fitted, name: str) -> None:
    folder = fitted[0].rival(name)
    assert {file.suffix for file in folder.rglob("*") if file.is_file()} == {".json", ".safetensors"}
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert len(tokenizer.encode("<|history|>", add_special_tokens=False)) == 1


def test_an_up_to_date_rival_is_left_alone(fitted: Fitted) -> None:
    run, dataset, trm = fitted
    before = run.finished()
    run_rival(run, dataset, trm, BOTH[0])
    assert run.finished() == before


@pytest.mark.parametrize("name", BOTH)
def test_it_can_be_shown(fitted: Fitted, name: str) -> None:
    run, dataset, trm = fitted
    user = dataset.user_ids[0]
    done = CliRunner().invoke(app, ["rival", "show", name, "--user", user, "--run", str(run.folder)])
    assert done.exit_code == 0
    recommender = load_rival(run, dataset, trm, name)
    assert isinstance(recommender, Explains)
    assert done.stdout.rstrip("\n") == recommender.explain(dataset.known_history(user))


def test_showing_what_is_not_there(fitted: Fitted, tmp_path: Path) -> None:
    run = fitted[0]

    def error(*arguments: str, folder: Path = run.folder) -> BaseException | None:
        return CliRunner().invoke(app, ["rival", "show", *arguments, "--run", str(folder)]).exception

    assert isinstance(error("llm-title-token", "--user", "u1"), EvaluationError)
    assert isinstance(error(BOTH[0], "--user", "nobody"), DataError)
    other = tmp_path / "run"
    start(other)
    missing = error(BOTH[0], "--user", "u1", folder=other)
    assert isinstance(missing, RunError)
    assert f"deeprec rival fit {BOTH[0]}" in str(missing)


def test_another_catalogue_is_refused(fitted: Fitted) -> None:
    run, dataset, trm = fitted
    fewer = replace(dataset, catalog=Catalog(dataset.catalog.items[:-1]))
    with pytest.raises(RunError, match=r"fitted on another catalogue \(80 items.*here 79 items.*rival fit"):
        load_rival(run, fewer, trm, BOTH[1])


@pytest.mark.parametrize(
    ("file", "text"),
    [("items.json", "{"), ("items.json", "{}"), ("codes.safetensors", "x"), ("model/model.safetensors", "x")],
)
def test_broken_files_name_the_remedy(fitted: Fitted, tmp_path: Path, file: str, text: str) -> None:
    run, dataset, trm = fitted
    copy = Run.open(run.folder)
    copy.folder = tmp_path
    shutil.copytree(run.rival(BOTH[1]), copy.rival(BOTH[1]))
    shutil.copy(run.folder / "stages.json", tmp_path)
    (copy.rival(BOTH[1]) / file).write_text(text)
    with pytest.raises(RunError, match=r"deeprec rival fit llm-semantic-ids"):
        load_rival(copy, dataset, trm, BOTH[1])


def saved_model(folder: Path) -> Path:
    """A small causal LM with words of its own, as one from the hub would be."""
    tokenizer = build_codec().tokenizer
    save_policy(
        build_tiny(PolicyConfig(width=32, heads=2, key_value_heads=1), tokenizer, 0), tokenizer, folder
    )
    return folder


@pytest.mark.parametrize("name", BOTH)
def test_a_model_by_path(tmp_path: Path, name: str) -> None:
    model = saved_model(tmp_path / "model")
    changes = (f"rivals.item_tokens.model={model}", "rivals.item_tokens.epochs=1")
    run, dataset, trm = start(tmp_path / "run", *changes)
    run_rival(run, dataset, trm, name)
    found = load_rival(run, dataset, trm, name).recommend(dataset.examples("test")[:5], 10)
    assert all(len(set(one.ranking)) == 10 for one in found)
    assert json.loads((run.rival(name) / "model" / "config.json").read_text())["model_type"] == "qwen2"


def test_a_title_starts_at_the_mean_of_its_pieces(tmp_path: Path, fitted: Fitted) -> None:
    catalog = fitted[1].catalog
    config = RunConfig().rivals.item_tokens.model_copy(update={"model": str(saved_model(tmp_path / "model"))})
    model = build_model(config, title_names(catalog), catalog, 0)
    pieces = model.tokenizer.encode(catalog[7].label, add_special_tokens=False)
    table = model.model.get_input_embeddings().weight
    assert len(pieces) > 1
    assert torch.allclose(table[model.item_ids[7, 0]], table[pieces].mean(dim=0), atol=1e-6)
    codes = build_model(config, code_names(np.array([[0, 0], [0, 0], [1, 0]])), catalog, 0)
    rows = codes.model.get_input_embeddings().weight[torch.cat(codes.level_ids)]
    assert len(rows.unique(dim=0)) == 3


@pytest.mark.parametrize("place", ["missing/folder/here", "/nowhere", "."])
def test_a_model_that_is_not_there(tmp_path: Path, fitted: Fitted, place: str) -> None:
    catalog = fitted[1].catalog
    config = RunConfig().rivals.item_tokens.model_copy(update={"model": place})
    with pytest.raises(PolicyError, match=r"rivals\.item_tokens\.model|no config\.json"):
        build_model(config, title_names(catalog), catalog, 0)


def test_a_history_that_does_not_fit_the_model(tmp_path: Path, fitted: Fitted) -> None:
    changes = {"model": str(saved_model(tmp_path / "model")), "history": 3000}
    config = RunConfig().rivals.item_tokens.model_copy(update=changes)
    with pytest.raises(
        PolicyError, match=r"reads 2048 tokens, and 3000 items take 3001; lower rivals.item_tokens.history"
    ):
        build_model(config, title_names(fitted[1].catalog), fitted[1].catalog, 0)


def test_vectors_that_the_trm_lacks(fitted: Fitted, tmp_path: Path) -> None:
    run, dataset, trm = start(tmp_path / "run", "rivals.item_tokens.vectors=trm")
    with pytest.raises(ConfigError, match=r'this TRM has no item vectors; set it to "text"'):
        run_rival(run, dataset, trm, BOTH[1])


def test_time_is_up_after_one_epoch(tmp_path: Path) -> None:
    run, dataset, trm = start(tmp_path / "run", "rivals.item_tokens.max_minutes=0.0001")
    run_rival(run, dataset, trm, BOTH[0])
    assert run.finished()[f"rival:{BOTH[0]}"]["epoch"] == 1


def test_an_interrupted_fit_goes_on_and_ends_as_an_uninterrupted_one(
    fitted: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "llm-title-tokens"
    run, dataset, trm = start(tmp_path / "run")
    monkeypatch.setattr("deeprec.trm.resuming._COST", 1e9)  # a checkpoint after every epoch
    epoch, calls = ItemTrainer.epoch, []

    def interrupted(self: ItemTrainer, histories: list) -> tuple[float, int]:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return epoch(self, histories)

    with monkeypatch.context() as patch:
        patch.setattr(ItemTrainer, "epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_rival(run, dataset, trm, name)
    assert len(rows_of(run, name)) == 3
    run_rival(run, dataset, trm, name)
    assert rows_of(run, name) == rows_of(fitted[0], name)
    expected, found = (
        load_file(next(one.rival(name).rglob("model.safetensors"))) for one in (fitted[0], run)
    )
    for weight in expected:
        np.testing.assert_array_equal(expected[weight], found[weight], err_msg=weight)
    assert not list((run.folder / "rivals").glob("*.checkpoints"))


def rows_of(run: Run, name: str) -> list[dict]:
    rows = [row for row in read_jsonl(run.metrics) if row["stage"] == f"rival:{name}"]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]
