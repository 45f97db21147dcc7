"""Item-kNN, EASE, ALS and BPR against hand and brute force, saved, tuned, and better than popularity."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_world import build_catalog, build_dataset

from deeprec.config import DataConfig, RunConfig, SyntheticConfig, override_config
from deeprec.data.dataset import Dataset
from deeprec.data.prepare import prepare
from deeprec.data.split import refit_data
from deeprec.errors import EvaluationError, MissingExtraError, RetrievalError
from deeprec.methods import RIVALS
from deeprec.rivals import plain
from deeprec.rivals.factors import ALS, BPR
from deeprec.rivals.registry import find_rival
from deeprec.rivals.tuning import choose, tuning_examples, validation_ndcg
from deeprec.run import Run
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.linear import EASE, gram_matrix
from deeprec.trm.recommender import TRMRecommender

GRIDS = (
    "rivals.plain.decays=[0.7,1.0]", "rivals.plain.knn_neighbours=[50]", "rivals.plain.knn_shrink=[0.0,10.0]",
    "rivals.plain.ease_l2=[30.0,300.0]",
)  # fmt: skip
PLAIN = ("item-knn", "ease", "als", "bpr")


def toy(*histories: tuple[int, ...], n_items: int = 4) -> Dataset:
    """A data set whose fit part is exactly these histories."""
    rows = [
        {"user_id": f"u{user}", "item_index": item, "timestamp": float(at), "rating": 1.0, "part": "fit"}
        for user, items in enumerate(histories)
        for at, item in enumerate(items)
    ]
    schema = {"user_id": pl.String, "item_index": pl.Int32, "timestamp": pl.Float64, "rating": pl.Float32}
    frame = pl.DataFrame(rows, schema={**schema, "part": pl.String})
    users = pl.DataFrame({"user_id": [f"u{user}" for user in range(len(histories))]})
    return Dataset("toy", build_catalog([f"T{n}" for n in range(n_items)]), frame, users)


TOY = toy((1, 2), (1, 2, 3), (2, 3), (3, 4), (1,))


@pytest.fixture(scope="module")
def simulated() -> Dataset:
    sizes = SyntheticConfig(users=600, items=80, genres=6, interactions_per_user=20)
    return refit_data(prepare(DataConfig(synthetic=sizes), 0))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(plain, "ALS_FACTORS", (16,))
    monkeypatch.setattr(plain, "ALS_ALPHAS", (1.0, 10.0))
    monkeypatch.setattr(plain, "BPR_FACTORS", (32,))
    monkeypatch.setattr(plain, "BPR_LEARNING_RATES", (0.05,))
    return Run.create(tmp_path / "run", override_config(RunConfig(), GRIDS))


def test_item_knn_by_hand() -> None:
    """Item 2 shares two users with 1 and two with 3, out of 3 users each; 4 shares none."""
    scores = ItemKNN.fit(TOY, neighbours=2, shrink=1.0, history=5, decay=0.5).score([[2], [4, 2]])
    prior = 1e-6 * np.array([3, 3, 3, 1]) / 3
    assert scores[0, 1:] == pytest.approx(np.array([2 / 4, 0, 2 / 4, 0]) + prior, abs=1e-7)
    # Item 4 is one step older, and has item 3 (1 shared user of 1 and 3).
    assert scores[1, 3] == pytest.approx(2 / 4 + 0.5 / (np.sqrt(3) + 1) + prior[2], abs=1e-7)
    assert scores[0, 0] == -np.inf


def test_an_item_keeps_its_nearest_neighbours_only() -> None:
    near = ItemKNN.fit(toy((1, 2), (1, 2), (1, 3), (4,)), neighbours=1, shrink=0.0).score([[1]])
    assert near[0, 2] > 0.1
    assert near[0, 3] < 1e-5


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_ease_against_brute_force(l2: float) -> None:
    """Each column on its own: ridge regression of an item on all the others."""
    dataset = refit_data(build_dataset())
    histories = [set(example.history) for example in dataset.fit_histories()]
    seen = np.array([[item in history for item in range(1, 31)] for history in histories], dtype=float)
    weights = EASE.fit(dataset, l2).weights
    for item in range(30):
        others = [other for other in range(30) if other != item]
        x = seen[:, others]
        expected = np.linalg.solve(x.T @ x + l2 * np.eye(29), x.T @ seen[:, item])
        assert weights[1:, 1:][others, item] == pytest.approx(expected, abs=1e-6)
        assert weights[item + 1, item + 1] == 0
    assert not weights[0].any()
    assert not weights[:, 0].any()


def test_ease_counts_older_items_less() -> None:
    fitted = EASE.fit(TOY, 1.0)
    once = fitted.score([[1], [3]])[:, 1:]
    assert fitted.with_decay(0.5).score([[1, 3]])[0, 1:] == pytest.approx(0.5 * once[0] + once[1], abs=1e-6)
    assert fitted.score([[1, 3]])[0, 1:] == pytest.approx(once[0] + once[1], abs=1e-6)


def test_gram_counts_users_not_interactions() -> None:
    assert gram_matrix(toy((1, 2, 1), (2,), n_items=2)).tolist() == [[1, 1], [1, 2]]


def test_a_catalogue_that_ease_has_no_memory_for(run: Run) -> None:
    small = Run(run.folder, override_config(run.config, ["rivals.plain.ease_memory_gb=1e-6"]))
    with pytest.raises(
        EvaluationError, match=r"30 items needs .* GB, rivals.plain.ease_memory_gb = 1e-06; raise"
    ):
        find_rival("ease").check(small, refit_data(build_dataset()), None)  # type: ignore[arg-type]


def test_als_folds_a_history_in_as_the_paper_says() -> None:
    """x = (Y'Y + Y'(C - I)Y + reg I)^-1 Y'C p, with c = 1 + alpha * decay ** age."""
    model = ALS.fit(refit_data(build_dataset()), 8, 0.3, 4.0, 5, seed=0, decay=0.5)
    items = model.items.astype(np.float64)
    history = [7, 3, 12]
    trust = np.ones(31)
    trust[history] += 4.0 * np.array([0.25, 0.5, 1.0])
    left = items.T @ (trust[:, None] * items) + 0.3 * np.eye(8)
    user = np.linalg.solve(left, items[history].T @ trust[history])
    assert model.score([history])[0, 1:] == pytest.approx(items[1:] @ user, abs=1e-4)


@pytest.mark.parametrize("model", [ALS, BPR])
def test_a_seed_gives_one_result(model: type) -> None:
    dataset = refit_data(build_dataset())

    def fit(seed: int) -> np.ndarray:
        if model is ALS:
            return ALS.fit(dataset, 8, 0.1, 1.0, 5, seed).items
        return BPR.fit(dataset, 8, 0.05, 0.01, 5, seed).items

    assert np.array_equal(fit(0), fit(0))
    assert not np.array_equal(fit(0), fit(1))


def test_bpr_ranks_for_a_stranger_by_their_items() -> None:
    dataset = refit_data(build_dataset())
    model = BPR.fit(dataset, 8, 0.05, 0.01, 30, 0)
    known = dataset.examples("test")[0]
    stranger = replace(known, user_id="nobody", history=known.history[-2:])
    mean = model.items[list(stranger.history)].mean(axis=0)
    mean[-1] = 1
    assert model.score([stranger])[0, 1:] == pytest.approx(model.items[1:] @ mean, abs=1e-5)
    assert len(model.recommend([replace(stranger, history=())], 5)[0].ranking) == 5


@pytest.mark.parametrize("name", ["als", "bpr"])
def test_without_implicit(name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("implicit.cpu.als", "implicit.cpu.bpr"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[baselines\]"):
        find_rival(name).fit(run, refit_data(build_dataset()), None, tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PLAIN)
def test_tuned_saved_and_better_than_popularity(
    name: str, run: Run, simulated: Dataset, tmp_path: Path
) -> None:
    rival, folder = find_rival(name), tmp_path / name
    folder.mkdir()
    facts = rival.fit(run, simulated, None, folder)  # type: ignore[arg-type]
    examples = tuning_examples(simulated, 3000)
    assert facts["validation"] == {
        "ndcg@10": max(entry["ndcg@10"] for entry in facts["tried"]), "users": len(examples)
    }  # fmt: skip
    loaded = rival.load(run, simulated, None, folder)  # type: ignore[arg-type]
    found = validation_ndcg(loaded, examples)
    assert found == pytest.approx(facts["validation"]["ndcg@10"], abs=1e-5)
    floor = validation_ndcg(TRMRecommender(Popularity.fit(simulated), simulated), examples)
    assert found > 1.2 * floor
    other = toy((1, 2), (2, 3))
    with pytest.raises(RetrievalError, match="80 items, not 4; fit it again"):
        rival.load(run, other, None, folder)  # type: ignore[arg-type]
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(RetrievalError, match=r"model\.safetensors: not readable"):
        rival.load(run, simulated, None, folder)  # type: ignore[arg-type]


def test_scores_are_the_same_after_a_reload(simulated: Dataset, tmp_path: Path) -> None:
    histories = [example.history for example in simulated.examples("test")[:20]]
    models = [
        ItemKNN.fit(simulated, 20, 5.0, 50, 0.8), EASE.fit(simulated, 50.0, 0.8),
        ALS.fit(simulated, 8, 1.0, 5.0, 3, 0, 0.8),
    ]  # fmt: skip
    for model in models:
        model.save(tmp_path / "model")
        again = type(model).load(tmp_path / "model", simulated.catalog.n_items)
        assert np.array_equal(model.score(histories), again.score(histories))


def test_the_earlier_of_two_equal_settings_is_taken(simulated: Dataset) -> None:
    popular = Popularity.fit(simulated)
    tried = [({"l2": value}, popular) for value in (3.0, 1.0, 2.0)]
    choice = choose(
        "x", tried, lambda model: TRMRecommender(model, simulated), tuning_examples(simulated, 50), 3
    )
    assert choice.settings == {"l2": 3.0}
    assert choice.facts()["at_edge"] == ["l2"]
    assert choice.users == 50


def test_nothing_to_choose_from(simulated: Dataset) -> None:
    with pytest.raises(EvaluationError, match="no settings to try"):
        choose("x", [], lambda model: model, tuning_examples(simulated, 5), 0)
    bare = replace(simulated, interactions=simulated.interactions.filter(pl.col("part") == "fit"))
    with pytest.raises(EvaluationError, match="no validation targets to choose settings on"):
        tuning_examples(bare, 5)


def test_every_rival_has_a_summary_that_fits_a_line() -> None:
    for name in RIVALS:
        assert 10 < len(find_rival(name).summary) <= 90
    with pytest.raises(EvaluationError, match="unknown rival 'eas'; did you mean 'ease'"):
        find_rival("eas")
