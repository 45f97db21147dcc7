"""Peers that answer at once: scripts that write what the real ones would."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deeprec.bench.peers import FAISS, SASREC, Peers

_HEAD = "import json, sys\nout = sys.argv[sys.argv.index('--out') + 1]\nfound = "
_TAIL = "\njson.dump(found, open(out, 'w'))\n"
_SASREC = {
    "method": "SASRec (made up)",
    "curve": [{"tokens": 100, "train_seconds": 100.0}, {"tokens": 100, "train_seconds": 50.0}],
    "recommend": {"together_ms": 1e6, "alone_ms": 1e6},
}


@pytest.fixture
def no_peers(tmp_path: Path) -> Peers:
    return Peers(tmp_path / "none" / "python", tmp_path)


@pytest.fixture
def made_up_peers(tmp_path: Path) -> Peers:
    (tmp_path / SASREC).write_text(f"{_HEAD}{_SASREC!r}{_TAIL}", encoding="utf-8")
    faiss = {"together_ms": 1e6, "alone_ms": 1e6, "version": "0"}
    (tmp_path / FAISS).write_text(f"{_HEAD}{faiss!r}{_TAIL}", encoding="utf-8")
    return Peers(Path(sys.executable), tmp_path)
