from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeprec.bench.accuracy import Contestant, own_contestants, read_peer, result_rows
from deeprec.config import DataConfig, RunConfig, SyntheticConfig, TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.data.stage import run_data
from deeprec.errors import EvaluationError
from deeprec.evaluation.results import append_rows, fit_commands
from deeprec.evaluation.results_page import render_pages
from deeprec.run import Run
from deeprec.trm.baselines import Popularity


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    sizes = SyntheticConfig(users=30, items=40, genres=4, interactions_per_user=14)
    config = RunConfig(data=DataConfig(synthetic=sizes), trm=TRMConfig(history=12, preference_steps=20))
    return Run.create(tmp_path_factory.mktemp("accuracy") / "run", config)


@pytest.fixture(scope="module")
def dataset(run: Run) -> Dataset:
    dataset = run_data(run)
    run.finish("trm", "made up", 6.0)
    return dataset


def peer(dataset: Dataset, **changes: Any) -> dict[str, Any]:
    examples = dataset.examples("test")
    test = {
        "user_ids": [example.user_id for example in examples],
        "targets": [example.target for example in examples],
        "ranks": [1] * len(examples),
    }
    return {
        "method": "SASRec (made up)", "fingerprint": dataset.fingerprint, "test": test, "seconds": 90.0,
        "settings": {
            "history": 12, "width": 8, "blocks": 2, "heads": 2, "dropout": 0.2, "batch_size": 4, "lr": 0.1,
            "seed": 5, "max_minutes": 45.0
        },
        "epochs": 7, "best_epoch": 5, "converged": False, "stopped": "time", "machine": "2 cores",
        "versions": {"rectools": "0.19.0", "torch": "2", "numpy": "1"}, **changes,
    }  # fmt: skip


def written(folder: Path, found: dict[str, Any]) -> Path:
    (folder / "peer.json").write_text(json.dumps(found), encoding="utf-8")
    return folder / "peer.json"


def test_a_peer_is_read_with_what_limits_it(dataset: Dataset, tmp_path: Path) -> None:
    found = read_peer(written(tmp_path, peer(dataset)), dataset)
    assert (found.name, found.minutes, found.history) == ("SASRec (made up)", 1.5, 12)
    assert found.versions == {"rectools": "0.19.0", "torch": "2"}
    assert "7 epochs, the best is 5; stopped by its limit of 45 minutes: more epochs" in str(found.note)
    done = read_peer(written(tmp_path, peer(dataset, converged=True)), dataset)
    assert str(done.note).endswith("stopped by validation NDCG@10")


def test_a_peer_of_other_targets_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    other = peer(dataset)
    other["test"]["targets"][3] += 1
    for wrong in (other, peer(dataset, fingerprint="0" * 16)):
        with pytest.raises(EvaluationError, match="ranked other targets"):
            read_peer(written(tmp_path, wrong), dataset)
    with pytest.raises(EvaluationError, match="no ranks of a peer"):
        read_peer(written(tmp_path, {"method": "SASRec"}), dataset)
    with pytest.raises(EvaluationError, match="can't be read"):
        read_peer(tmp_path / "none.json", dataset)


def test_rows_hold_metrics_differences_and_notes(run: Run, dataset: Dataset, tmp_path: Path) -> None:
    contestants = own_contestants(run, dataset, Popularity.fit(dataset))
    contestants.append(read_peer(written(tmp_path, peer(dataset)), dataset))
    rows = {row.method: row for row in result_rows(run, dataset, contestants)}
    assert list(rows) == ["popularity", "item-knn", "trm", "SASRec (made up)"]
    assert rows["trm"].minutes == pytest.approx(6.0, abs=0.1)
    assert rows["SASRec (made up)"].metrics["mrr"] == 1.0
    assert not rows["trm"].differences
    assert {name: row.seed for name, row in rows.items()} == dict.fromkeys(rows, 0) | {"SASRec (made up)": 5}
    assert {row.recipe for row in rows.values()} == {rows["trm"].recipe}
    assert rows["popularity"].differences["trm"]["ndcg@10"] == (0.0, 0.0, 0.0)  # the "trm" is popularity here
    mean, low, high = rows["SASRec (made up)"].differences["trm"]["recall@1"]
    assert mean == pytest.approx(1 - rows["trm"].metrics["recall@1"], abs=1e-5)
    assert 0 < low <= mean <= high <= 1
    assert {row.targets for row in rows.values()} == {dataset.targets_hash("test")}

    append_rows(tmp_path / "results" / "made-up.json", list(rows.values()))
    pages = render_pages(tmp_path / "results")
    page = "".join(text for path, text in pages.items() if path.startswith("results/"))
    assert "- SASRec (made up): width 8, blocks 2," in page
    assert page.index("| item-knn |") < page.index("| trm |")


def test_ranks_below_the_cut_are_misses(run: Run, dataset: Dataset) -> None:
    users = len(dataset.examples("test"))
    rows = result_rows(run, dataset, [Contestant("trm", np.full(users, 11), 0.0)])
    assert set(rows[0].metrics.values()) == {0.0}
    rows = result_rows(run, dataset, [Contestant("trm", np.full(users, 4), 0.0)])
    assert rows[0].metrics["recall@5"] == 1.0
    assert (rows[0].metrics["recall@1"], rows[0].metrics["mrr"]) == (0.0, 0.25)


def test_a_name_stands_for_one_method(run: Run, dataset: Dataset) -> None:
    ranks = np.ones(len(dataset.examples("test")), dtype=np.int64)
    for names in (("trm", "peer", "peer"), ("peer",)):
        with pytest.raises(EvaluationError, match="each name once"):
            result_rows(run, dataset, [Contestant(name, ranks, 0.0) for name in names])


def test_the_commands_that_fit_a_run() -> None:
    config = RunConfig.model_validate(
        {
            "seed": 3,
            "data": {"name": "ml-1m", "source": "/somewhere/ml-1m.zip", "rl_targets": 0},
            "trm": {"history": 20},
        }
    )
    assert fit_commands(config).splitlines() == [
        "deeprec data prepare ml-1m --source ml-1m.zip --set data.rl_targets=0",
        "deeprec trm fit --set trm.history=20 --set seed=3",
    ]
