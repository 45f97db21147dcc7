"""A rival of your own: fitted, listed and evaluated by where it is; and what is said of one that can't be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.config import RunConfig, override_config
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.errors import ConfigError
from deeprec.ledger import read_ledger
from deeprec.pipeline import build_recommenders, load_stages, trained_methods
from deeprec.rivals import registry
from deeprec.rivals.registry import find_rival, load_rival, run_rival
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.stage import run_trm

SETTINGS = ("data.synthetic.users=20", "data.synthetic.items=30", "data.synthetic.interactions_per_user=10",
            "trm.kind=popularity", "trm.text_dim=8")  # fmt: skip
MODULE = """
from deeprec.recommender import Recommendation
from deeprec.rivals.registry import Rival

class Newest:
    name = "rival_of_mine:NEWEST"
    def recommend(self, examples, k=10):
        return [Recommendation(tuple(range(30, 30 - k, -1)), self.name) for _ in examples]

class Misnamed(Newest):
    name = "newest"

def load(run, dataset, trm, folder):
    assert (folder / "fitted").read_text() == "20 users"
    return Newest()

def fit(run, dataset, trm, folder):
    (folder / "fitted").write_text(f"{len(dataset.user_ids)} users")
    return {"seen": len(dataset.user_ids)}

NEWEST = Rival("the newest items", lambda run: {}, fit, load)
MISNAMED = Rival("no", lambda run: {}, fit, lambda *given: Misnamed())
NOTHING = Rival("no", lambda run: {}, fit, lambda *given: 3)
FACTLESS = Rival("no", lambda run: {}, lambda *given: None, load)
NUMBER = 3
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rival_of_mine.py").write_text(MODULE)
    run = Run.create(tmp_path / "run", override_config(RunConfig(), SETTINGS))
    run_trm(run, run_data(run))
    return run


def test_it_is_fitted_listed_and_built_like_ours(run: Run) -> None:
    name = "rival_of_mine:NEWEST"
    words = ["rival", "fit", name, "--run", str(run.folder)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert (run.folder / "rivals" / "rival_of_mine-NEWEST" / "fitted").is_file()
    assert run.finished()[f"rival:{name}"]["seen"] == 20
    assert read_ledger(run, f"rival:{name}") is not None
    assert trained_methods(run) == ["popularity", "trm", "oracle", name]
    listed = CliRunner().invoke(app, ["rival", "list", "--run", str(run.folder), "--json"]).stdout
    assert {"name": name, "summary": "the newest items", "fitted": True} in json.loads(listed)
    found = build_recommenders(run, [name])[name]
    assert found.recommend([], 3) == []
    again = CliRunner().invoke(app, ["evaluate", "--methods", name, "--run", str(run.folder), "--json"])
    assert json.loads(again.stdout)["methods"][name]["name"] == name


def test_what_would_stop_a_fit_leaves_the_one_that_is_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "rival_of_mine:NEWEST"
    dataset, trm = load_stages(run)
    run_rival(run, dataset, trm, name)
    before = run.finished()

    def refuse(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
        raise ConfigError("it lacks something")

    changed = replace(find_rival(name), check=refuse, others=lambda run: {"a setting": 2})
    monkeypatch.setattr(registry, "find_rival", lambda name: changed)
    with pytest.raises(ConfigError, match="it lacks something"):
        run_rival(run, dataset, trm, name)
    assert run.finished() == before
    assert (run.rival(name) / "fitted").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rival_of_mine:NUMBER", "is a int; name a deeprec.rivals.registry.Rival"),
        ("rival_of_mine:ABSENT", "module 'rival_of_mine' has no attribute 'ABSENT'"),
        ("rival_that_is_not:HERE", "can't import 'rival_that_is_not'"),
        ("rival_of_mine:FACTLESS", "its fit gave a NoneType; give a dict of facts"),
        ("rival_of_mine:NOTHING", "gave a int, which is no Recommender: it lacks name, recommend"),
        (
            "rival_of_mine:MISNAMED",
            "its recommender calls itself 'newest'; tables want 'rival_of_mine:MISNAMED'",
        ),
    ],
)
def test_what_breaks_the_contract_is_said(run: Run, name: str, message: str) -> None:
    def use() -> None:
        dataset, trm = load_stages(run)
        run_rival(run, dataset, trm, name)
        load_rival(run, dataset, trm, name)

    with pytest.raises(ConfigError, match=f"rival = '{name}': {message}"):
        use()
