"""The peers' own scripts, where `make peers` has been run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from deeprec.bench.accuracy import read_peer
from deeprec.bench.data import made_up_dataset
from deeprec.bench.peers import FAISS, SASREC, Peers
from deeprec.bench.retrieval import exact_rows
from deeprec.data.format import write_dataset

ROOT = Path(__file__).parents[3]
PEERS = Peers(ROOT / ".venv-peers" / "bin" / "python", ROOT / "benchmarks" / "peers")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PEERS.installed, reason="make peers installs them"),
]


def test_rectools_ranks_our_targets(tmp_path: Path) -> None:
    dataset = made_up_dataset(12, 60, 0)
    write_dataset(dataset, tmp_path / "run" / "data")
    out = tmp_path / "sasrec.json"
    words = ["--run", tmp_path / "run", "--out", out, "--width", "8", "--history", "10", "--epochs", "2"]
    command = [PEERS.python, PEERS.scripts / SASREC, *words, "--threads", "1", "--real-positions"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    found = read_peer(out, dataset)
    assert ((found.ranks >= 1) & (found.ranks <= 60)).all()
    assert found.name.startswith("SASRec (RecTools 0.19")
    assert "stopped by its limit of epochs" in str(found.note)
    written = json.loads(out.read_text(encoding="utf-8"))
    assert len(written["curve"]) == 2
    assert written["curve"][0]["tokens"] == sum(
        min(len(user.history), 11) - 1 for user in dataset.fit_histories()
    )


def test_rectools_and_faiss_tell_their_speed(tmp_path: Path) -> None:
    assert (PEERS.scripts / FAISS).is_file()
    rows = list(exact_rows(300, 8, PEERS, rounds=1, seed=0))
    assert all(row.peer_value is not None for row in rows)
    write_dataset(made_up_dataset(12, 400, 0), tmp_path / "run" / "data")
    words = ("--run", tmp_path / "run", "--speed-only", "--width", 8, "--epochs", 2, "--time-calls", 2)
    found = PEERS.run(SASREC, *words, threads=1)
    assert found["tokens_per_second"] > 0
    assert found["recommend"]["alone_ms"] > 0
