"""Every kind of TRM through the stage and the commands, and what is said of one that can't be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from deeprec.cli.trm import app
from deeprec.config import DataConfig, RunConfig, SyntheticConfig, TRMConfig, override_config
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.doctor import inspect_run
from deeprec.errors import ConfigError, DeepRecError, RetrievalError
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.kinds import build_retriever
from deeprec.trm.refit import run_trm_refit
from deeprec.trm.stage import load_trm, run_trm
from deeprec.trm.text_steered import TextSteered


def _run(folder: Path, **settings: Any) -> tuple[Run, Dataset]:
    sizes = SyntheticConfig(users=30, items=40, genres=5, interactions_per_user=14)
    trm = TRMConfig(text_dim=16, **settings)
    run = Run.create(folder, RunConfig(data=DataConfig(synthetic=sizes), trm=trm))
    return run, run_data(run)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the user's own, importable as `mine`."""
    made = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", made)
    made.build = lambda dataset, config: ItemKNN.fit(dataset)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("kind", ["popularity", "item-knn", "vectors", "mine:build"])
def test_fit_load_and_steer(tmp_path: Path, module: ModuleType, kind: str) -> None:
    vectors = str(tmp_path / "vectors") if kind == "vectors" else None
    run, dataset = _run(tmp_path / "run", kind=kind, vectors=vectors)
    if vectors:
        Path(vectors).mkdir()
        rows = np.random.default_rng(0).standard_normal((40, 3)).tolist()
        frame = pl.DataFrame({"item_id": [item.item_id for item in dataset.catalog.items], "vector": rows})
        frame.write_parquet(Path(vectors) / "items.parquet")
    fitted = run_trm(run, dataset)
    assert isinstance(fitted, ExplorableRetriever)
    loaded = load_trm(run, dataset)
    wanted = dataset.catalog.items[0].categories[0]
    histories = [example.history for example in dataset.examples("test")]
    asked = [wanted] * len(histories)
    first, again = (trm.retrieve(histories, asked, k=10).item_indices for trm in (fitted, loaded))
    assert np.array_equal(first, again)

    def share(found: Any) -> float:
        return float(np.mean([wanted in dataset.catalog[int(item)].categories for item in found.ravel()]))

    assert share(first) > share(loaded.retrieve(histories, None, k=10).item_indices)
    arguments = ["show", "--run", str(run.folder), "--preference", wanted, "-k", "3"]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert shown.startswith("No history: what is popular answers")
    assert inspect_run(run.folder).problems == ()
    record = run.finished()["trm"]["time"]
    result = CliRunner().invoke(app, ["fit", "--run", str(run.folder)], catch_exceptions=False)
    assert result.exit_code == 0
    assert run.finished()["trm"]["time"] == record  # nothing changed: not made again


def test_other_vectors_are_another_trm(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    folder.mkdir()
    run, dataset = _run(tmp_path / "run", kind="vectors", vectors=str(folder))
    inputs = []
    for value in (1.0, 2.0):
        rows = [[value, float(item.item_index)] for item in dataset.catalog.items]
        frame = pl.DataFrame({"item_id": [item.item_id for item in dataset.catalog.items], "vector": rows})
        frame.write_parquet(folder / "items.parquet")
        run_trm(run, dataset)
        inputs.append(run.finished()["trm"]["inputs"])
    assert inputs[0] != inputs[1]


def test_wrong_settings_are_refused(tmp_path: Path, module: ModuleType) -> None:
    _, dataset = _run(tmp_path / "run")
    encoder = build_text_encoder(TRMConfig(text_dim=16), dataset.catalog)

    class Half:
        n_items = 40

        def score(self) -> None: ...

    module.number = 3  # type: ignore[attr-defined]
    module.half = lambda dataset, config: Half()  # type: ignore[attr-defined]
    module.small = lambda dataset, config: Popularity(np.zeros(6, np.float32))  # type: ignore[attr-defined]
    for kind, message in [
        (
            "knn",
            "trm.kind = 'knn': choose deeprec, published-fusion, popularity, item-knn, vectors, or name a factory",
        ),
        ("nowhere_at_all:build", "can't import 'nowhere_at_all'"),
        ("mine:nothing", "module 'mine' has no attribute 'nothing'"),
        ("mine:number", "is a int, not callable"),
        ("mine:half", "a Half, which is no Retriever: it lacks retrieve, item_vectors"),
        ("mine:small", "ranks 5 items, the catalogue holds 40"),
        ("vectors", "kind 'vectors' needs the folder of the vectors"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build_retriever(dataset, TRMConfig(kind=kind), encoder)
    with pytest.raises(ConfigError, match="no other kind reads one"):
        build_retriever(dataset, TRMConfig(kind="popularity", vectors="somewhere"), encoder)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    run, dataset = _run(tmp_path / "run", kind="popularity")
    run_trm(run, dataset)
    other = Run(run.folder, run.config.model_copy(update={"trm": TRMConfig(text_dim=16, kind="item-knn")}))
    with pytest.raises(
        RetrievalError, match=r"a TRM of kind 'popularity', trm.kind = 'item-knn'; run `deeprec trm fit"
    ):
        load_trm(other, dataset)
    file = run.trm / "trm.json"
    facts = json.loads(file.read_text())

    def write(place: Path, text: str) -> None:
        place.write_text(text)
        run.record("trm", run.finished()["trm"])  # as if the stage had left it like that

    write(file, json.dumps(facts | {"catalog": "another"}))
    with pytest.raises(RetrievalError, match="this TRM was made for another catalogue"):
        load_trm(run, dataset)
    write(file, json.dumps(facts))
    encoder = json.loads((run.trm / "encoder.json").read_text())
    write(run.trm / "encoder.json", json.dumps(encoder | {"fingerprint": "another"}))
    with pytest.raises(RetrievalError, match="is not the one that the TRM was fitted with"):
        load_trm(run, dataset)
    write(file, "{")
    with pytest.raises(RetrievalError, match=r"trm.json: not readable"):
        load_trm(run, dataset)


def test_steering_by_hand(small_dataset: Dataset) -> None:
    counts = np.arange(81, dtype=np.float32)  # mean 40.5, best 80
    encoder = build_text_encoder(TRMConfig(text_dim=16), small_dataset.catalog)
    steered = TextSteered(Popularity(counts), encoder, small_dataset.catalog, weight=2.0)
    wanted = small_dataset.catalog[1].categories[0]
    fit = steered.text_vectors()[1:] @ encoder.encode([wanted])[0]
    expected = (counts[1:] - 40.5) / 39.5 + 2 * fit
    scores = steered.score([[], [2]], [wanted, None])
    np.testing.assert_allclose(scores[0, 1:], expected, atol=1e-5)
    assert np.array_equal(scores[1, 1:], counts[1:])  # no preference: as it is
    flat = TextSteered(Popularity(np.ones(81, np.float32)), encoder, small_dataset.catalog, weight=2.0)
    np.testing.assert_allclose(flat.score([[]], [wanted])[0, 1:], 2 * fit, atol=1e-5)


def test_without_weight_the_retriever_reads_the_preference(small_dataset: Dataset) -> None:
    heard: list[Any] = []

    class Listening(Popularity):
        def score(self, histories: Any, preferences: Any = None) -> Any:
            heard.append(preferences)
            return super().score(histories, preferences)

    encoder = build_text_encoder(TRMConfig(text_dim=16), small_dataset.catalog)
    for weight in (0.0, 1.0):
        steered = TextSteered(Listening.fit(small_dataset), encoder, small_dataset.catalog, weight)
        steered.retrieve([[1]], ["Comedy"], k=3)
    assert heard == [["Comedy"], None]


@pytest.mark.parametrize("stage", [run_trm, run_trm_refit])
def test_an_encoder_that_can_not_be_had_leaves_what_is_there(tmp_path: Path, stage: Any) -> None:
    run, dataset = _run(tmp_path / "run", kind="popularity")
    stage(run, dataset)
    before = run.finished()
    other = Run(run.folder, override_config(run.config, [f"trm.text_encoder={tmp_path / 'no-such-model'}"]))
    with pytest.raises(DeepRecError):
        stage(other, dataset)
    assert run.finished() == before
