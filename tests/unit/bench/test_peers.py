from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deeprec.bench.peers import FAISS, Peers
from deeprec.errors import EvaluationError


def test_a_peer_gets_its_words_and_threads_and_answers_in_json(tmp_path: Path) -> None:
    script = (
        "import json, os, sys\nwords = sys.argv[1:]\n"
        "json.dump([words[:2], words[words.index('--threads') + 1], os.environ['OMP_NUM_THREADS']],"
        " open(words[words.index('--out') + 1], 'w'))"
    )
    (tmp_path / "echo.py").write_text(script, encoding="utf-8")
    peers = Peers(Path(sys.executable), tmp_path)
    assert peers.installed
    assert peers.run("echo.py", "--k", 20, threads=3) == [["--k", "20"], "3", "3"]


def test_a_peer_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / FAISS).write_text("raise SystemExit('no such index')", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"faiss_search.py: failed \(no such index\); run `make peers`"):
        Peers(Path(sys.executable), tmp_path).run(FAISS, threads=1)


def test_a_peer_that_is_not_there_is_not_installed(no_peers: Peers, tmp_path: Path) -> None:
    assert not no_peers.installed
    assert not Peers(Path(sys.executable), tmp_path / "none").installed
