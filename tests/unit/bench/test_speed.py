"""What is measured and how it is told; not how fast it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deeprec.bench.data import made_up_dataset
from deeprec.bench.peers import Peers
from deeprec.bench.retrieval import approximate_rows, exact_rows
from deeprec.bench.training import train_speed, training_rows
from deeprec.cli.bench import app
from deeprec.config import DataConfig, RunConfig, SyntheticConfig, TRMConfig
from deeprec.data.stage import run_data
from deeprec.errors import ConfigError, RunError
from deeprec.run import Run
from deeprec.trm.encoders import build_text_encoder

TINY = TRMConfig(width=16, layers=1, text_dim=16, history=12, preference_steps=20)
SMALL = [
    "--users",
    "6",
    "--items",
    "400",
    "--exact-items",
    "200",
    "--approximate-items",
    "300",
    "--rounds",
    "1",
]


def test_training_counts_the_positions_of_the_epochs_behind_the_first(tmp_path: Path) -> None:
    dataset = made_up_dataset(6, 400, 0)
    encoder = build_text_encoder(TINY, dataset.catalog, 0, tmp_path)
    speed, trm = train_speed(dataset, encoder, TINY, epochs=2, seed=0)
    assert speed > 0
    assert trm.n_items == 400


def test_training_rows_without_peers_say_how_to_get_them(no_peers: Peers) -> None:
    rows = list(training_rows(made_up_dataset(6, 400, 0), TINY, no_peers, rounds=1, seed=0))
    assert [row.unit for row in rows] == ["tokens/s", "tokens/s", "ms", "ms"]
    assert all(row.value > 0 for row in rows)
    assert all(row.peer.endswith("not installed: make peers") and row.ratio is None for row in rows)


def test_training_rows_leave_out_the_peer_s_first_epoch_too(made_up_peers: Peers) -> None:
    rows = list(training_rows(made_up_dataset(6, 400, 0), TINY, made_up_peers, rounds=2, seed=0))
    assert [row.peer_value for row in rows] == [2.0, 2.0, 1e6, 1e6]
    assert rows[0].peer == "SASRec (made up)"
    assert rows[0].ratio == pytest.approx(rows[0].value / 2, rel=1e-3)


def test_exact_rows_have_two_peers_each(made_up_peers: Peers, no_peers: Peers) -> None:
    rows = list(exact_rows(200, 8, made_up_peers, rounds=1, seed=0))
    assert [row.peer for row in rows] == ["torch topk of all scores", "faiss IndexFlatIP"] * 2
    assert all(row.ratio is not None for row in rows)
    alone = list(exact_rows(200, 8, no_peers, rounds=1, seed=0))
    assert [row.peer_value is None for row in alone] == [False, True] * 2


def test_approximate_rows_tell_what_is_found(no_peers: Peers) -> None:
    rows = list(approximate_rows(500, 8, no_peers, rounds=1, seed=0))
    share = next(row for row in rows if row.unit == "share")
    assert share.value == share.peer_value == 1.0  # so few items are searched exactly, as the TRM would
    assert all(row.name.startswith(("exact top 20 of 500", "index of 500")) for row in rows)


def test_the_command_prints_one_object_a_line(no_peers: Peers) -> None:
    words = ["trm", *SMALL, "--peer-python", str(no_peers.python), "--only", "exact", "--only", "training"]
    printed = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    assert len(rows) == 8
    assert set(rows[0]) == {"name", "value", "unit", "peer", "peer_value", "ratio"}
    table = CliRunner().invoke(app, [*words[:-4], "--only", "exact"], catch_exceptions=False).stdout
    assert "faiss" in table


def test_the_command_takes_the_data_of_a_run(tmp_path: Path, no_peers: Peers) -> None:
    sizes = SyntheticConfig(users=20, items=30, genres=4, interactions_per_user=12)
    run = Run.create(tmp_path / "run", RunConfig(data=DataConfig(synthetic=sizes), trm=TINY))
    run_data(run)
    words = ["trm", "--run", str(run.folder), "--only", "training", "--rounds", "1", "--threads", "1"]
    words += ["--peer-python", str(no_peers.python), "--set", "trm.history=10", "--json"]
    rows = CliRunner().invoke(app, words, catch_exceptions=False).stdout.splitlines()
    assert "history 10" in rows[0]
    assert "20 histories, 30 items" in rows[2]


def test_bad_requests_are_our_errors(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(app, ["trm", "--only", "speed"]).exception
    assert isinstance(wrong, ConfigError)
    assert "choose among training" in str(wrong)
    assert isinstance(CliRunner().invoke(app, ["trm", "--run", str(tmp_path)]).exception, RunError)
